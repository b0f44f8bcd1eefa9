// Whose rights the process has once its listeners are bound.

import CWeir
import Glibc
import WeirNet
import WeirTelemetry

/// Giving up root.
enum Privileges {
    /// Why the process cannot become a user.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Becomes `user` for good, keeping only the right to bind ports below 1024, which a reload may
    /// need. Nothing is done where the process is that user already.
    ///
    /// - Parameter files: what the user must be able to read at a reload; what it cannot is said.
    static func become(_ user: String, reading files: [String]) throws(Failure) {
        guard let entry = getpwnam(user) else {
            throw Failure(description: "runtime.user: there is no user '\(user)'")
        }
        let (id, group) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
        guard id != geteuid() else { return }
        guard geteuid() == 0 else {
            throw Failure(
                description: "runtime.user: only root can become '\(user)'; start weir as root, as "
                    + "'\(user)', or without the key")
        }
        guard cweir_become(user, id, group) == 0 else {
            let error = SystemError.last("setresuid")
            throw Failure(description: "runtime.user: weir cannot become '\(user)': \(error)")
        }
        ProcessLog.info("running as another user", ["user": user])
        for file in files where access(file, R_OK) != 0 {
            ProcessLog.warn(
                "a reload will be refused: the user cannot read a file",
                ["user": user, "file": file])
        }
    }
}
