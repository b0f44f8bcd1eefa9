// swift-tools-version: 6.2
import PackageDescription

// Arrows between targets point one way only; `Tests/TidyTests` fails on an import that is not
// declared here. See docs/architecture.md for what each layer owns.

// `WEIR_FUZZ=1` adds the fuzzers and instruments everything they reach; see Tests/Fuzz/run.sh.
let isFuzzed = Context.environment["WEIR_FUZZ"] == "1"

let strict: [SwiftSetting] =
    (isFuzzed ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : []) + [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
    ]

// Dynamic exclusivity checks were a third of the instructions of a proxied request. Debug builds,
// which all tests run, keep them; see docs/adr/0004-exclusivity-checks.md.
let dataPlane: [SwiftSetting] =
    strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

func layer(
    _ name: String, _ dependencies: [Target.Dependency], _ settings: [SwiftSetting] = strict
) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: "Fuzz\(name)", dependencies: ["FuzzSupport", "FuzzDriver"] + dependencies,
        path: "Tests/Fuzz/\(name)",
        swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])],
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address"])])
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let package = Package(
    name: "weir",
    products: [
        .executable(name: "weir", targets: ["weir"]),
        .executable(name: "weir-origin", targets: ["weir-origin"]),
    ],
    targets: [
        .target(name: "CWeir", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),
        .systemLibrary(name: "CYAML"),
        .systemLibrary(name: "CCares"),
        .systemLibrary(name: "CPCRE2"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CNghttp2"),

        layer("WeirTime", [], dataPlane),
        layer("WeirPolicy", ["WeirTime"], dataPlane),
        layer("WeirConfig", ["WeirTime", "WeirPolicy", "CYAML", "CPCRE2"]),
        layer("WeirHTTP", ["CWeir", "CNghttp2"], dataPlane),
        layer("WeirNet", ["WeirTime", "CWeir", "CCares", "COpenSSL"], dataPlane),
        layer("WeirCrypto", ["COpenSSL"], dataPlane),
        layer("WeirTelemetry", ["WeirTime", "CWeir"], dataPlane),
        layer("WeirAdmin", ["WeirTime", "WeirNet", "WeirHTTP", "WeirTelemetry"]),
        layer(
            "WeirProxy",
            [
                "WeirTime", "WeirNet", "WeirHTTP", "WeirPolicy", "WeirTelemetry", "WeirCrypto",
                "CWeir", "CPCRE2",
            ], dataPlane),
        layer(
            "WeirServer",
            [
                "WeirTime", "WeirNet", "WeirHTTP", "WeirPolicy", "WeirTelemetry", "WeirConfig",
                "WeirProxy", "WeirAdmin", "WeirCrypto", "CWeir",
            ]),

        layer("WeirSim", ["WeirTime", "WeirPolicy", "WeirConfig"], dataPlane),

        .executableTarget(
            name: "weir", dependencies: ["WeirServer", "WeirSim"], swiftSettings: strict),
        .executableTarget(
            name: "weir-origin", dependencies: ["WeirNet", "WeirHTTP", "WeirTime", "CWeir"],
            swiftSettings: strict),

        .executableTarget(
            name: "weir-decisions", dependencies: ["WeirPolicy", "WeirTime"],
            path: "Tests/Bench/Decisions", swiftSettings: dataPlane),

        tests("WeirTimeTests", ["WeirTime"]),
        tests("WeirPolicyTests", ["WeirPolicy", "WeirTime"]),
        .testTarget(
            name: "WeirConfigTests", dependencies: ["WeirConfig", "WeirPolicy", "WeirTime"],
            exclude: ["Golden"], swiftSettings: strict),
        tests("WeirHTTPTests", ["WeirHTTP", "CNghttp2"]),
        tests("WeirNetTests", ["WeirNet", "WeirTime", "CWeir", "COpenSSL"]),
        tests("WeirCryptoTests", ["WeirCrypto", "WeirTime"]),
        tests("WeirTelemetryTests", ["WeirTelemetry", "WeirTime"]),
        tests("WeirAdminTests", ["WeirAdmin", "WeirNet", "WeirHTTP", "WeirTime"]),
        tests(
            "WeirProxyTests",
            ["WeirProxy", "WeirNet", "WeirHTTP", "WeirPolicy", "WeirTelemetry", "WeirTime"]),
        tests(
            "WeirServerTests",
            [
                "WeirServer", "WeirConfig", "WeirProxy", "WeirNet", "WeirPolicy", "WeirTelemetry",
                "WeirAdmin", "WeirCrypto", "WeirTime",
            ]),
        tests("WeirSimTests", ["WeirSim", "WeirConfig", "WeirPolicy", "WeirTime"]),
        tests("TidyTests", []),
    ]
)

if isFuzzed {
    package.targets += [
        .target(name: "FuzzDriver", path: "Tests/Fuzz/Driver"),
        .target(
            name: "FuzzSupport", dependencies: ["WeirHTTP"], path: "Tests/Fuzz/Support",
            swiftSettings: strict),
        fuzzer("Request", ["WeirHTTP"]),
        fuzzer("Response", ["WeirHTTP"]),
        fuzzer("Chunked", ["WeirHTTP"]),
        fuzzer("Config", ["WeirConfig"]),
        fuzzer("Proxy", ["WeirNet"]),
        fuzzer("Http2", ["WeirHTTP"]),
        fuzzer("Tls", ["WeirNet", "WeirTime"]),
    ]
}
