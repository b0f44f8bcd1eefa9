struct AdminListener { func stop() {} }
extension Server { func openAdmin(_ c: Configuration) throws(SystemError) {} }
import WeirConfig
import WeirNet
