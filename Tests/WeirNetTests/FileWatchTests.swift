// Every way in which a config file comes to be another one.

import Foundation
import Testing
import WeirNet
import WeirTime

/// A watch on one file of a scratch folder, and how often it has called.
private final class Watched {
    let loop: EventLoop
    private(set) var calls = 0
    private var watch: FileWatch?

    init(_ path: String) throws {
        loop = try EventLoop()
        watch = try FileWatch(loop: loop, path: path, settle: .milliseconds(1)) { [weak self] in
            self?.calls += 1
        }
    }

    deinit {
        watch?.stop()
        loop.settle()
    }

    /// Turns until the watch has called `count` times, and then on until nothing is pending.
    func hasCalled(_ count: Int) -> Bool {
        loop.turn { calls >= count } && isQuiet && calls == count
    }

    /// Turns until every event has been dealt with.
    private var isQuiet: Bool {
        loop.settle()
        return loop.turn { loop.timers.nextWake() == nil || loop.isQuiescent }
    }
}

extension EventLoop {
    /// No timer is armed. The wheel forgets a disarmed one only as its slot passes.
    fileprivate var isQuiescent: Bool {
        timers.popExpired(now: now) == nil && timers.nextWake() == nil
    }
}

@Suite struct `A file watch` {
    let folder: ScratchFolder

    init() throws {
        folder = try ScratchFolder()
        try folder.write("one", to: "weir.yaml")
    }

    @Test func `notices an edit in place`() throws {
        let watched = try Watched(folder.path + "/weir.yaml")
        let handle = try #require(FileHandle(forWritingAtPath: folder.path + "/weir.yaml"))
        handle.seekToEndOfFile()
        handle.write(Data("two".utf8))
        try handle.close()
        #expect(watched.hasCalled(1))
    }

    @Test func `notices a rename over the file, each time`() throws {
        let watched = try Watched(folder.path + "/weir.yaml")
        for count in 1...3 {
            try folder.write(String(repeating: "x", count: 10 + count), to: "weir.yaml.new")
            folder.rename("weir.yaml.new", to: "weir.yaml")
            #expect(watched.hasCalled(count))
        }
    }

    @Test func `notices a ConfigMap's swap, each time`() throws {
        try folder.makeFolder("..v0")
        try folder.write("version 0", to: "..v0/app.yaml")
        folder.link("..data", to: "..v0")
        folder.link("app.yaml", to: "..data/app.yaml")
        let watched = try Watched(folder.path + "/app.yaml")
        for count in 1...3 {
            try folder.makeFolder("..v\(count)")
            try folder.write("version \(count)", to: "..v\(count)/app.yaml")
            folder.link("..data_tmp", to: "..v\(count)")
            folder.rename("..data_tmp", to: "..data")
            try folder.remove("..v\(count - 1)")
            #expect(watched.hasCalled(count))
        }
    }

    @Test func `notices an edit of the file that a link leads to`() throws {
        try folder.makeFolder("elsewhere")
        try folder.write("one", to: "elsewhere/real.yaml")
        folder.link("linked.yaml", to: folder.path + "/elsewhere/../elsewhere/real.yaml")
        let watched = try Watched(folder.path + "/linked.yaml")
        try folder.write("three", to: "elsewhere/real.yaml")
        #expect(watched.hasCalled(1))
    }

    @Test func `notices that a directory on the way is another one`() throws {
        try folder.makeFolder("etc")
        try folder.write("one", to: "etc/app.yaml")
        let watched = try Watched(folder.path + "/etc/app.yaml")
        folder.rename("etc", to: "etc.old")
        try folder.makeFolder("etc")
        try folder.write("three", to: "etc/app.yaml")
        #expect(watched.hasCalled(1))
        try folder.write("sixteen", to: "etc/app.yaml")
        #expect(watched.hasCalled(2), "the new directory is watched now")
        try folder.write("ignored", to: "etc.old/app.yaml")
        watched.loop.settle()
        #expect(watched.hasCalled(2), "the old directory is not")
    }

    @Test func `survives that the file goes and comes back`() throws {
        let watched = try Watched(folder.path + "/weir.yaml")
        try folder.remove("weir.yaml")
        #expect(watched.hasCalled(0))
        try folder.write("three", to: "weir.yaml")
        #expect(watched.hasCalled(1))
    }

    @Test func `waits for a file that does not exist yet, nor its directory`() throws {
        let watched = try Watched(folder.path + "/later/app.yaml")
        try folder.makeFolder("later")
        #expect(watched.hasCalled(0))
        try folder.write("one", to: "later/app.yaml")
        #expect(watched.hasCalled(1))
    }

    @Test func `does not call for its neighbours, nor for a file closed unchanged`() throws {
        let watched = try Watched(folder.path + "/weir.yaml")
        try folder.write("anything", to: "other.yaml")
        #expect(watched.hasCalled(0))
        let handle = try #require(FileHandle(forWritingAtPath: folder.path + "/weir.yaml"))
        try handle.close()
        #expect(watched.hasCalled(0))
    }

    @Test func `gives up a circle of links`() throws {
        folder.link("a", to: "b")
        folder.link("b", to: "a")
        let watched = try Watched(folder.path + "/a")
        try folder.remove("a")
        try folder.write("one", to: "a")
        #expect(watched.hasCalled(1))
    }
}
