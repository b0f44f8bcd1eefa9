// "Did you mean": the nearest legal word to a misspelt one.

package enum EditDistance {
    /// Words longer than this are not compared: the cost is the product of the lengths.
    private static let maxLength = 64

    /// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
    package static func between(_ a: String, _ b: String) -> Int {
        let a = Array(a.utf8)
        let b = Array(b.utf8)
        if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
        var before = [Int](repeating: 0, count: b.count + 1)
        var previous = Array(0...b.count)
        var current = before
        for i in 1...a.count {
            current[0] = i
            for j in 1...b.count {
                let change = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
                var best = min(previous[j] + 1, current[j - 1] + 1, change)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    best = min(best, before[j - 2] + 1)
                }
                current[j] = best
            }
            (before, previous, current) = (previous, current, before)
        }
        return previous[b.count]
    }

    /// The candidate within a third of the word's length (at least one edit), nearest first, then
    /// the earliest.
    package static func nearest(
        to word: String, among candidates: some Sequence<String>
    ) -> (word: String, distance: Int)? {
        let length = word.utf8.count
        guard length > 1, length <= maxLength else { return nil }
        let limit = max(1, length / 3)
        var best: (word: String, distance: Int)?
        for candidate in candidates {
            let other = candidate.utf8.count
            guard other <= maxLength, abs(other - length) <= limit else { continue }
            let distance = between(word.lowercased(), candidate.lowercased())
            if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best
    }
}
