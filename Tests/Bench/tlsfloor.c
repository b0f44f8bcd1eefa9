// The memory of idle TLS sessions with nothing around them: what OpenSSL takes by itself, for a server
// that releases its buffers. Prints bytes a session.
//
//     tlsfloor SESSIONS CERTIFICATE_AND_KEY.pem

#include <malloc.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

static SSL_CTX *context(const SSL_METHOD *method)
{
    SSL_CTX *made = SSL_CTX_new(method);
    if (made == NULL) exit(2);
    SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    return made;
}

static void shake(SSL *server, SSL *client)
{
    char byte;
    for (int step = 0; step < 8; step++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    if (!SSL_is_init_finished(server) || !SSL_is_init_finished(client)) exit(3);
    // One request and one answer, as an idle connection has had.
    if (SSL_write(client, "?", 1) != 1 || SSL_read(server, &byte, 1) != 1) exit(3);
    if (SSL_write(server, "!", 1) != 1 || SSL_read(client, &byte, 1) != 1) exit(3);
}

int main(int count, char **arguments)
{
    if (count != 3) return 2;
    int sessions = atoi(arguments[1]);
    SSL_CTX *serving = context(TLS_server_method());
    SSL_CTX *asking = context(TLS_client_method());
    if (SSL_CTX_use_certificate_chain_file(serving, arguments[2]) != 1
        || SSL_CTX_use_PrivateKey_file(serving, arguments[2], SSL_FILETYPE_PEM) != 1)
        return 2;
    size_t before = 0;
    for (int index = 0; index <= sessions; index++) {
        // What is made once is there after the first.
        if (index == 1) before = mallinfo2().uordblks;
        BIO *near = NULL, *far = NULL;
        SSL *server = SSL_new(serving), *client = SSL_new(asking);
        if (server == NULL || client == NULL || BIO_new_bio_pair(&near, 0, &far, 0) != 1) return 2;
        SSL_set_bio(server, near, near);
        SSL_set_bio(client, far, far);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        shake(server, client);
        SSL_free(client);
        // The server keeps its session alone: where bytes come from is not TLS' memory.
        SSL_set_bio(server, NULL, NULL);
    }
    printf("%zu\n", (mallinfo2().uordblks - before) / (size_t)sessions);
    return 0;
}
