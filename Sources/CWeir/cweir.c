// What Glibc shows to those who ask for GNU extensions, wrapped so that Swift sees it too.
#define _GNU_SOURCE
#include "cweir.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int cweir_accept(int listener, void *address, uint32_t *length) {
    return accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

long cweir_receive(int socket, void *buffer, size_t count) {
    return syscall(SYS_recvfrom, socket, buffer, count, 0, NULL, NULL);
}

long cweir_send(int socket, const void *buffer, size_t count) {
    return syscall(SYS_sendto, socket, buffer, count, MSG_NOSIGNAL, NULL, 0);
}

long cweir_writev(int socket, const void *pieces, int count) {
    return syscall(SYS_writev, socket, pieces, count);
}

long cweir_random(void *buffer, size_t length) { return getrandom(buffer, length, 0); }

long cweir_splice(int from, int to, size_t length) {
    return splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

int cweir_pipe(int ends[2], int size) {
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return -1;
    // A smaller pipe works as well, only with more calls.
    (void)fcntl(ends[1], F_SETPIPE_SZ, size);
    return 0;
}

void cweir_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int cweir_errno(void) { return errno; }

size_t cweir_heap_in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
