// What Glibc shows to those who ask for GNU extensions, wrapped so that Swift sees it too.
#define _GNU_SOURCE
#include "cweir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
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

int cweir_become(const char *name, uint32_t user, uint32_t group) {
    // Kept over the change of user, then reduced to the one that binds ports below 1024.
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return -1;
    if (initgroups(name, group) != 0) return -1;
    if (setresgid(group, group, group) != 0) return -1;
    if (setresuid(user, user, user) != 0) return -1;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    data[0].permitted = data[0].effective = 1u << CAP_NET_BIND_SERVICE;
    if (syscall(SYS_capset, &header, data) != 0) {
        // One that it was not given: without any, then.
        data[0].permitted = data[0].effective = 0;
        if (syscall(SYS_capset, &header, data) != 0) return -1;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

void cweir_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int cweir_errno(void) { return errno; }

void cweir_prepare_heap(void) {
    // A thread's heap grows by a page at a time, with an mprotect each, which waits for whoever
    // looks at the process's memory: a tenth of what a spike's first requests cost. What has been
    // writable once stays so. Each piece is too small to be mapped by itself; nothing of it is
    // touched but its head, and that is given back as well.
    enum { PIECE = 120 << 10, PIECES = 256 };
    void *volatile pieces[PIECES];
    for (int i = 0; i < PIECES; i++) pieces[i] = malloc(PIECE);
    for (int i = 0; i < PIECES; i++) free(pieces[i]);
}

size_t cweir_heap_in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
