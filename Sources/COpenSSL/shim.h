// OpenSSL's TLS and signatures, and what Swift cannot say to them: macros, stacks, callbacks.
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

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

// MARK: The port: where a thread's sessions read their records from, and write them to

/// Memory that stands for the network. One a thread: its sessions take turns.
struct copenssl_port {
    const unsigned char *input;
    size_t input_left;
    unsigned char *output;
    size_t output_used;
    size_t output_size;
    /// Steps of a handshake that the input may still lead to; after the last, it is not read.
    int steps_left;
};

static int copenssl_port_read(BIO *bio, char *target, size_t count, size_t *done)
{
    struct copenssl_port *port = (struct copenssl_port *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t amount = count < port->input_left ? count : port->input_left;
    if (amount == 0 || port->steps_left < 0) {
        BIO_set_retry_read(bio);
        *done = 0;
        return 0;
    }
    memcpy(target, port->input, amount);
    port->input += amount;
    port->input_left -= amount;
    *done = amount;
    return 1;
}

static int copenssl_port_write(BIO *bio, const char *source, size_t count, size_t *done)
{
    struct copenssl_port *port = (struct copenssl_port *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t room = port->output_size - port->output_used;
    size_t amount = count < room ? count : room;
    if (amount == 0) {
        BIO_set_retry_write(bio);
        *done = 0;
        return 0;
    }
    memcpy(port->output + port->output_used, source, amount);
    port->output_used += amount;
    *done = amount;
    return 1;
}

static long copenssl_port_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/// Makes the kind of BIO that `copenssl_port_bio` makes; once a process.
static inline BIO_METHOD *copenssl_port_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "port");
    if (method == NULL) return NULL;
    BIO_meth_set_read_ex(method, copenssl_port_read);
    BIO_meth_set_write_ex(method, copenssl_port_write);
    BIO_meth_set_ctrl(method, copenssl_port_control);
    return method;
}

/// A BIO on a port, which must outlive it; `NULL` without memory.
static inline BIO *copenssl_port_bio(const BIO_METHOD *method, struct copenssl_port *port)
{
    BIO *bio = BIO_new(method);
    if (bio == NULL) return NULL;
    BIO_set_data(bio, port);
    BIO_set_init(bio, 1);
    return bio;
}

/// Called for each message of a handshake, and of what follows one, that comes or goes.
static inline void copenssl_count_step(const SSL *session, int where, int result)
{
    (void)result;
    BIO *bio = SSL_get_rbio(session);
    if (bio == NULL || (where & SSL_CB_LOOP) == 0) return;
    struct copenssl_port *port = (struct copenssl_port *)BIO_get_data(bio);
    if (port->steps_left >= 0) port->steps_left -= 1;
}

// MARK: Contexts

/// Has the port count the steps of its sessions' handshakes.
static inline void copenssl_count_steps(SSL_CTX *context)
{
    SSL_CTX_set_info_callback(context, copenssl_count_step);
}

static inline int copenssl_set_min_version(SSL_CTX *context, int version)
{
    return (int)SSL_CTX_set_min_proto_version(context, version);
}

/// No renegotiation and no compression.
static inline void copenssl_restrict(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

static inline void copenssl_set_mode(SSL_CTX *context, long mode)
{
    SSL_CTX_set_mode(context, mode);
}

static inline void copenssl_set_cache_mode(SSL_CTX *context, long mode)
{
    SSL_CTX_set_session_cache_mode(context, mode);
}

static inline int copenssl_set_groups(SSL_CTX *context, const char *groups)
{
    return (int)SSL_CTX_set1_groups_list(context, groups);
}

/// Adds a certificate of the chain; the context keeps a reference of its own.
static inline int copenssl_add_chain(SSL_CTX *context, X509 *certificate)
{
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline void copenssl_set_name_callback(
    SSL_CTX *context, int (*callback)(SSL *, int *, void *))
{
    SSL_CTX_set_tlsext_servername_callback(context, callback);
}

static inline void copenssl_set_status_callback(SSL_CTX *context, int (*callback)(SSL *, void *))
{
    SSL_CTX_set_tlsext_status_cb(context, callback);
}

static inline void copenssl_set_ticket_callback(
    SSL_CTX *context,
    int (*callback)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int))
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, callback);
}

// A ticket of TLS 1.3 is replaced at each use, with a time of its own: what bounds the sum is the time
// of the handshake that all of them go back to, in which certificates were verified.
static int copenssl_note_handshake(SSL *session, void *argument)
{
    (void)argument;
    SSL_SESSION *own = SSL_get_session(session);
    void *noted = NULL;
    size_t count = 0;
    long long now = (long long)time(NULL);
    if (SSL_SESSION_get0_ticket_appdata(own, &noted, &count) && count == sizeof now) return 1;
    return SSL_SESSION_set1_ticket_appdata(own, &now, sizeof now);
}

static SSL_TICKET_RETURN copenssl_judge_ticket(
    SSL *session, SSL_SESSION *offered, const unsigned char *name, size_t length,
    SSL_TICKET_STATUS status, void *argument)
{
    (void)session;
    (void)name;
    (void)length;
    void *noted = NULL;
    size_t count = 0;
    long long then = 0, now = (long long)time(NULL);
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!SSL_SESSION_get0_ticket_appdata(offered, &noted, &count) || count != sizeof then)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    memcpy(&then, noted, sizeof then);
    if (now < then || now - then > (long long)(intptr_t)argument)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/// Lets sessions be resumed for so many seconds after their first handshake; 1 or 0.
static inline int copenssl_bound_tickets(SSL_CTX *context, long lifetime)
{
    return SSL_CTX_set_session_ticket_cb(
        context, copenssl_note_handshake, copenssl_judge_ticket, (void *)(intptr_t)lifetime);
}

/// The key of a ticket's authentication code; 1 or 0.
static inline int copenssl_set_ticket_mac(
    EVP_MAC_CTX *context, const unsigned char *secret, size_t count)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)secret, count),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(context, parameters);
}

// MARK: Sessions

static inline void copenssl_set_owner(SSL *session, void *owner)
{
    SSL_set_app_data(session, owner);
}

static inline void *copenssl_owner(const SSL *session) { return SSL_get_app_data(session); }

static inline int copenssl_set_host_name(SSL *session, const char *name)
{
    return (int)SSL_set_tlsext_host_name(session, name);
}

/// Staples an answer, which is copied; 1 or 0.
static inline int copenssl_staple(SSL *session, const unsigned char *answer, size_t count)
{
    unsigned char *copy = (unsigned char *)OPENSSL_memdup(answer, count);
    if (copy == NULL) return 0;
    SSL_set_tlsext_status_ocsp_resp(session, copy, (long)count);
    return 1;
}

// MARK: Certificates

static inline GENERAL_NAMES *copenssl_alternative_names(const X509 *certificate)
{
    return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}

static inline int copenssl_name_count(const GENERAL_NAMES *names)
{
    return names == NULL ? 0 : sk_GENERAL_NAME_num(names);
}

/// The bytes of a name that is a DNS name (2) or a URI (6); its kind, or -1.
static inline int copenssl_name_at(
    const GENERAL_NAMES *names, int index, const unsigned char **bytes, int *count)
{
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    const ASN1_STRING *text = NULL;
    switch (name->type) {
    case GEN_DNS: text = name->d.dNSName; break;
    case GEN_URI: text = name->d.uniformResourceIdentifier; break;
    default: return -1;
    }
    *bytes = ASN1_STRING_get0_data(text);
    *count = ASN1_STRING_length(text);
    return name->type;
}

static inline void copenssl_free_names(GENERAL_NAMES *names) { GENERAL_NAMES_free(names); }

/// A time in seconds since 1970; 0, or -1 with `seconds` as it was.
static inline int copenssl_seconds(const ASN1_TIME *time, long long *seconds)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, rest = 0;
    int ok = time != NULL && epoch != NULL && ASN1_TIME_diff(&days, &rest, epoch, time);
    ASN1_TIME_free(epoch);
    if (ok) *seconds = (long long)days * 86400 + rest;
    return ok ? 0 : -1;
}

/// The end of a certificate's time, in seconds since 1970; 0 or -1.
static inline int copenssl_expiry(const X509 *certificate, long long *seconds)
{
    return copenssl_seconds(X509_get0_notAfter(certificate), seconds);
}

/// Until when an OCSP response holds, in seconds since 1970, or LLONG_MAX where it does not say;
/// 0, or -1 where the bytes do not say that this certificate is good.
static inline int copenssl_response_expiry(
    const X509 *certificate, const unsigned char *bytes, long count, long long *seconds)
{
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &bytes, count);
    OCSP_BASICRESP *basic = NULL;
    int result = -1;
    if (response != NULL && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL
        && (basic = OCSP_response_get1_basic(response)) != NULL && OCSP_resp_count(basic) > 0) {
        ASN1_GENERALIZEDTIME *next = NULL;
        ASN1_INTEGER *serial = NULL;
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, 0);
        int status = OCSP_single_get0_status(single, NULL, NULL, NULL, &next);
        OCSP_id_get0_info(
            NULL, NULL, NULL, &serial, (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single));
        *seconds = LLONG_MAX;
        (void)copenssl_seconds(next, seconds);
        if (status == V_OCSP_CERTSTATUS_GOOD && serial != NULL
            && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) == 0)
            result = 0;
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return result;
}

/// The list of authorities that a server sends to its clients: the subjects of `certificates`.
static inline void copenssl_set_client_authorities(
    SSL_CTX *context, X509 *const *certificates, int count)
{
    STACK_OF(X509_NAME) *list = sk_X509_NAME_new_null();
    if (list == NULL) return;
    for (int index = 0; index < count; index++) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(certificates[index]));
        if (name != NULL && !sk_X509_NAME_push(list, name)) X509_NAME_free(name);
    }
    SSL_CTX_set_client_CA_list(context, list);
}

/// The name as RFC 2253 writes it, in memory that `OPENSSL_free` frees; `NULL` on failure.
static inline char *copenssl_subject(const X509 *certificate, size_t *count)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *copy = NULL;
    if (bio == NULL) return NULL;
    if (X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        char *text = NULL;
        long length = BIO_get_mem_data(bio, &text);
        copy = (char *)OPENSSL_memdup(text, (size_t)length);
        *count = (size_t)length;
    }
    BIO_free(bio);
    return copy;
}
