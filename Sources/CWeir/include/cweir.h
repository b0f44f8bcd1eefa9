// What Swift's Glibc overlay does not show: calls behind _GNU_SOURCE, and macros.
#ifndef CWEIR_H
#define CWEIR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "fields.h"
#include "hex.h"
#include "hpack.h"
#include "scan.h"

int cweir_accept(int listener, void *address, uint32_t *length);
// As the functions of that name, but no cancellation points: glibc's are, and saying so to the
// thread before and after each call takes longer than the rest of the call outside the kernel.
long cweir_receive(int socket, void *buffer, size_t count);
long cweir_send(int socket, const void *buffer, size_t count);
// `pieces` are `struct iovec`, which is Glibc's to declare.
long cweir_writev(int socket, const void *pieces, int count);
long cweir_random(void *buffer, size_t length);
/// Moves bytes between a pipe and a socket without copying them; never blocks.
long cweir_splice(int from, int to, size_t length);
/// Makes a non-blocking pipe of about `size` bytes; 0, or -1 with errno.
int cweir_pipe(int ends[2], int size);
/// Becomes another user for good, with no capability but to bind ports below 1024; 0, or -1 with
/// errno. To be called by the only thread that there is.
int cweir_become(const char *name, uint32_t user, uint32_t group);
void cweir_name_thread(const char *name);
int cweir_errno(void);
/// Has the calling thread's heap grow by 30 MB without system calls, later, when it needs to. Takes
/// no memory for that, but addresses.
void cweir_prepare_heap(void);
/// Bytes the heap has handed out and not got back (mallinfo2), for memory tests and metrics.
size_t cweir_heap_in_use(void);

// A counter has one writer and many readers, so a relaxed load and store are enough and cost
// as much as a plain increment.
static inline void cweir_counter_add(uint64_t *counter, uint64_t amount) {
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + amount,
                     __ATOMIC_RELAXED);
}
static inline uint64_t cweir_counter_load(const uint64_t *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
static inline void cweir_counter_store(uint64_t *counter, uint64_t value) {
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

#endif
