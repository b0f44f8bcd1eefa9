// OpenSSL's libcrypto, for the signatures of tokens, and what Swift cannot say to it.
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

// The parameter's name must outlive the call that sets it up, as a C literal does.
static inline int copenssl_hmac_sha256_init(
    EVP_MAC_CTX *context, const unsigned char *secret, size_t count)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_init(context, secret, count, parameters);
}
