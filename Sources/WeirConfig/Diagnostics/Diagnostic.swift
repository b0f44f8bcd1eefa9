// What is wrong with a configuration file, where, and what would be right.

/// One finding about a configuration file.
package struct Diagnostic: Equatable, Sendable {
    package enum Severity: String, Sendable {
        /// The configuration is refused.
        case error
        /// A lint: the configuration is used.
        case warning
    }

    /// A second place that belongs to the finding, such as the first of two equal keys.
    package struct Related: Equatable, Sendable {
        package var range: SourceRange
        /// Written beside its underline: "first written here".
        package var label: String

        package init(range: SourceRange, label: String) {
            self.range = range
            self.label = label
        }
    }

    package var severity: Severity
    package var code: Code
    package var file: String
    package var range: SourceRange
    package var message: String
    /// Written beside the caret: "did you mean 'timeout'?".
    package var label: String?
    /// What is legal here, or how to put it right.
    package var help: String?
    package var related: Related?

    package init(
        severity: Severity, code: Code, file: String, range: SourceRange, message: String,
        label: String? = nil, help: String? = nil, related: Related? = nil
    ) {
        self.severity = severity
        self.code = code
        self.file = file
        self.range = range
        self.message = message
        self.label = label
        self.help = help
        self.related = related
    }

    /// 1-based.
    package var line: Int { range.line }
    /// 1-based, in characters.
    package var column: Int { range.column }
    /// Characters to underline; at least 1.
    package var length: Int { range.length }

    /// A stable word per kind of finding, for scripts and for the reference.
    package enum Code: String, CaseIterable, Sendable {
        case yamlSyntax = "yaml-syntax"
        case invalidUTF8 = "invalid-utf8"
        case controlCharacter = "control-character"
        case tab
        case aliasRefused = "alias-refused"
        case tagRefused = "tag-refused"
        case mergeKeyRefused = "merge-key-refused"
        case multipleDocuments = "multiple-documents"
        case fileTooLarge = "file-too-large"
        case tooDeep = "too-deep"
        case tooManyNodes = "too-many-nodes"
        case tooManyErrors = "too-many-errors"

        case unknownKey = "unknown-key"
        case duplicateKey = "duplicate-key"
        case missingKey = "missing-key"
        case conflictingKeys = "conflicting-keys"
        case notSupportedYet = "not-supported-yet"
        case wrongType = "wrong-type"
        case emptyList = "empty-list"

        case unknownWord = "unknown-word"
        case missingUnit = "missing-unit"
        case badUnit = "bad-unit"
        case badNumber = "bad-number"
        case outOfRange = "out-of-range"
        case badName = "bad-name"
        case badText = "bad-text"
        case badAddress = "bad-address"
        case badPort = "bad-port"
        case badPrefix = "bad-prefix"
        case hostNameEndpoint = "host-name-endpoint"
        case badHost = "bad-host"
        case badPath = "bad-path"
        case badMethod = "bad-method"
        case badRegex = "bad-regex"
        case badStatus = "bad-status"
        case badHeaderName = "bad-header-name"
        case badHeaderValue = "bad-header-value"
        case forbiddenHeader = "forbidden-header"

        case duplicateName = "duplicate-name"
        case duplicateAddress = "duplicate-address"
        case danglingReference = "dangling-reference"
        case adminExposed = "admin-exposed"
        case redirectLoop = "redirect-loop"
        case bodyNotAllowed = "body-not-allowed"
        case burstTooSmall = "burst-too-small"
        case shareSum = "share-sum"
        case retryPlan = "retry-plan"

        case unusedCluster = "unused-cluster"
        case unusedRetryPolicy = "unused-retry-policy"
        case unusedPlan = "unused-plan"
        case neverEjects = "never-ejects"
        case unreachableRoute = "unreachable-route"
        case timeoutOrder = "timeout-order"
        case limitOrder = "limit-order"
        case noEffect = "no-effect"
        case unverifiedEndpoints = "unverified-endpoints"
        case prefixHostBits = "prefix-host-bits"
    }
}

/// A stretch of the source. Lines and columns are 1-based; columns count characters.
package struct SourceRange: Hashable, Sendable {
    package var line: Int
    package var column: Int
    package var endLine: Int
    /// Just past the last character.
    package var endColumn: Int

    package init(line: Int, column: Int, endLine: Int, endColumn: Int) {
        self.line = line
        self.column = column
        self.endLine = endLine
        self.endColumn = endColumn
    }

    /// `length` characters of one line.
    package init(line: Int, column: Int, length: Int = 1) {
        self.init(line: line, column: column, endLine: line, endColumn: column + max(length, 1))
    }

    /// Characters on the first line; 1 for what spans lines, since its first line says little.
    package var length: Int { endLine == line ? max(endColumn - column, 1) : 1 }

    /// Comes earlier in the file.
    func isBefore(_ other: SourceRange) -> Bool {
        line != other.line ? line < other.line : column < other.column
    }
}
