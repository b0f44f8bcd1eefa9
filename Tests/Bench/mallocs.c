// Counts heap calls of the process that preloads it, into a file that others may read at any time.
//
// The counters lie in a shared mapping of $MALLOCS_FILE (64-bit words: malloc, calloc, realloc,
// aligned, free), so reading them disturbs nobody: no signal, no interrupted system call, no
// allocation.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// glibc's own names: looking the originals up with dlsym would allocate before there is an
// allocator.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

typedef struct {
    _Atomic uint64_t malloc, calloc, realloc, aligned, free;
} Counts;

static Counts untilMapped;
static Counts *counts = &untilMapped;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("MALLOCS_FILE");
    if (!path) return;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (ftruncate(fd, sizeof(Counts)) == 0) {
        void *shared = mmap(NULL, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared != MAP_FAILED) counts = shared;
    }
    close(fd);
}

static void count(_Atomic uint64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void *malloc(size_t size) {
    count(&counts->malloc);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(&counts->calloc);
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    count(&counts->realloc);
    return __libc_realloc(old, size);
}

void free(void *memory) {
    if (memory) count(&counts->free);
    __libc_free(memory);
}

void *memalign(size_t alignment, size_t size) {
    count(&counts->aligned);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *fresh = memalign(alignment, size);
    if (!fresh) return ENOMEM;
    *memory = fresh;
    return 0;
}
