// The keys and tokens of RFC 7515, appendix A, and keys that are not good enough.

import WeirCrypto

/// A token in its parts, decoded where a verifier wants them so.
struct Signed {
    var algorithm: String
    /// Header and payload as they are sent.
    var text: [UInt8]
    var signature: [UInt8]

    init(_ algorithm: String, header: String, signature: String) {
        self.algorithm = algorithm
        text = Array("\(header).\(Vectors.payload)".utf8)
        self.signature = Vectors.decoded(signature)
    }

    func holds(by key: TokenKey) -> Bool {
        text.withUnsafeBytes { text in
            signature.withUnsafeBytes { signature in
                Array(algorithm.utf8).withUnsafeBytes {
                    key.holds(signed: text, signature: signature, algorithm: $0)
                }
            }
        }
    }
}

enum Vectors {
    static let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        + "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

    /// Appendix A.1.
    static let secret = decoded(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
    static let hs256 = Signed(
        "HS256", header: "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        signature: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")

    /// Appendix A.2, the JWK's modulus and exponent as PEM.
    static let rsa = """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj
        NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz
        P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo
        9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB
        EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX
        FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp
        oQIDAQAB
        -----END PUBLIC KEY-----

        """
    static let rs256 = Signed(
        "RS256", header: "eyJhbGciOiJSUzI1NiJ9",
        signature: "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"
            + "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"
            + "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
            + "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"
            + "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"
            + "p0igcN_IoypGlUPQGe77Rw")

    /// Appendix A.3, the JWK's point as PEM.
    static let p256 = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
        6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
        -----END PUBLIC KEY-----

        """
    /// A certificate of the same key, long expired.
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBDjCBtaADAgECAgEBMAoGCCqGSM49BAMCMBExDzANBgNVBAMMBnRva2VuczAe
        Fw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMBExDzANBgNVBAMMBnRva2Vu
        czBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH/Nzidw9sRdQYPL7m/bS3tYBzM1
        e+nvE7rPbjx70VRFx/FEzRu9m36HLN/tue659LNpXW6pCyStikYjKIWI5a0wCgYI
        KoZIzj0EAwIDSAAwRQIgW4YdFm8IH4XIXD6Oj76Xf2nJzccnqqnc8j4bSkBGqToC
        IQDozT/oSwiJzrrKVR1RIbUph/ZySm4R771UMHbMcTCFQw==
        -----END CERTIFICATE-----

        """
    static let es256 = Signed(
        "ES256", header: "eyJhbGciOiJFUzI1NiJ9",
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
            + "pmWQxfKTUJqPP3-Kg6NU1Q")

    /// 1,024 bits.
    static let weakRSA = """
        -----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDgIXRsJ3cpU4fsoQSRvicr8uJV
        NKWF7obQRrX0tUJKn7X/uVScZgoh3RvaVm9sUBnebtnyfbCkq9Dqf/DMsP50WpKt
        l6xblUWAq1PdMfivfFnVVBAThne4W86SOZePxaiygMZ7vB9lCLeM7opjKVwYbZVl
        QNq0eZeX31EwU/eUTwIDAQAB
        -----END PUBLIC KEY-----

        """
    static let p384 = """
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEkmhbhmRVHVLtCgYFapzVsPCyp2ZIznAj
        ohMN2Vh1b5+1Sc0ynrCrUpPD9FN4BQylywJyJbAMfk/Hb6voQmOjPlOzfUH7upva
        sEmsrhpFOnsCuVU6UBkykX8Hbw4/QF+n
        -----END PUBLIC KEY-----

        """

    /// Base 64 for URLs.
    static func decoded(_ text: String) -> [UInt8] {
        var bits: UInt32 = 0
        var held = 0
        var bytes: [UInt8] = []
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        for byte in text.utf8 {
            bits = bits << 6 | UInt32(alphabet.firstIndex(of: byte) ?? 0)
            held += 6
            guard held >= 8 else { continue }
            held -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
        }
        return bytes
    }
}
