package enum ConfigurationDiff { package static func lines(from: Configuration, to: Configuration) -> [String] { ["changed"] } }
package enum ConfigurationReference { package static func markdown() -> String { "" } }
