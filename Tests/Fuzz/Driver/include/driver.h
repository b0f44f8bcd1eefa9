// The entry points of the fuzzers; nothing for Swift to call.
