// A fixed number of HTTP/1.1 requests from one thread, or a crowd of idle connections that are held
// open.
//
// It exists because a comparison needs a generator that sends exactly N requests, costs the same
// for every proxy, and says when an answer was wrong: each answer must be a 200 with the expected
// Content-Length and all its bytes.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_LIMIT = 8192, READ_SIZE = 256 << 10, REQUEST_SIZE = 1024, IN_FLIGHT_WHEN_HOLDING = 64 };

typedef enum { CLOSED, CONNECTING, HEAD, BODY, ENDING, IDLE } State;

typedef struct {
    int fd;
    State state;
    int headLength;
    char *head; // only while a head arrives in pieces
    long bodyLeft;
    long number; // of its request
    uint64_t began;
} Connection;

static struct {
    int port, connections, spread, seconds;
    long requests, bodyLength;
    int newConnections, hold;
    const char *host, *path, *field;
} options = {.connections = 64,
             .requests = 10000,
             .seconds = 120,
             .bodyLength = -1,
             .spread = 1,
             .host = "bench.example.com",
             .path = "/1k",
             .field = ""};

static long started, finished, failures, reconnects;
static uint64_t bodyBytes, startedAt, deadline;
static uint32_t *latencies; // microseconds, one a good answer
static long latencyCount;
static int epollFd, inFlight;
static Connection *connections;
static char *requests, readBuffer[READ_SIZE];
static int *requestLengths;
static const char *firstFailure;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(2);
}

// `%d` in host, path and field becomes 00000 ... spread-1, so that requests of all numbers are
// equally long.
static void expand(char *to, size_t size, const char *pattern, int number) {
    size_t n = 0;
    for (const char *p = pattern; *p && n + 6 < size; p++) {
        if (p[0] == '%' && p[1] == 'd') {
            n += (size_t)snprintf(to + n, size - n, "%05d", number);
            p++;
        } else {
            to[n++] = *p;
        }
    }
    to[n] = 0;
}

static void renderRequests(void) {
    requests = malloc((size_t)options.spread * REQUEST_SIZE);
    requestLengths = malloc((size_t)options.spread * sizeof(int));
    if (!requests || !requestLengths) die("malloc");
    for (int i = 0; i < options.spread; i++) {
        char host[128], path[256], field[128];
        expand(host, sizeof host, options.host, i);
        expand(path, sizeof path, options.path, i);
        expand(field, sizeof field, options.field, i);
        int n = snprintf(
            requests + (size_t)i * REQUEST_SIZE, REQUEST_SIZE,
            "GET %s HTTP/1.1\r\n"
            "Host: %s\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
            "Accept-Language: en-GB,en;q=0.5\r\n"
            "Accept-Encoding: gzip, deflate, br\r\n"
            "Referer: http://bench.example.com/catalog/index.html\r\n"
            "Cookie: session=6b1f0c2de3a84f5f9a0b7c66d1e2f3a4; theme=dark\r\n"
            "Cache-Control: no-cache\r\n%s%s%s\r\n",
            path, host, field, *field ? "\r\n" : "",
            options.newConnections ? "Connection: close\r\n" : "");
        if (n >= REQUEST_SIZE) {
            errno = EMSGSIZE;
            die("host, path or field");
        }
        requestLengths[i] = n;
    }
}

static void watch(Connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epollFd, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static void drop(Connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
}

static void finish(Connection *c, const char *failure) {
    finished++;
    inFlight--;
    if (failure) {
        failures++;
        if (!firstFailure) firstFailure = failure;
        drop(c);
        return;
    }
    latencies[latencyCount++] = (uint32_t)((now() - c->began) / 1000);
}

static void sendRequest(Connection *c) {
    int which = (int)(c->number % options.spread);
    ssize_t n = send(c->fd, requests + (size_t)which * REQUEST_SIZE, (size_t)requestLengths[which],
                     MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == ENOTCONN) && c->state == CONNECTING) {
        watch(c, EPOLL_CTL_MOD, EPOLLOUT);
        return;
    }
    c->headLength = 0;
    if (n != requestLengths[which]) {
        finish(c, "the request could not be sent whole");
        return;
    }
    if (c->state == CONNECTING) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = HEAD;
}

// Begins one more request on this connection, connecting first where that is needed.
static void begin(Connection *c) {
    if (started >= options.requests) return;
    c->number = started++;
    c->began = now();
    inFlight++;
    if (c->fd < 0) {
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0) die("socket");
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)options.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
            die("connect");
        c->state = CONNECTING;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
    sendRequest(c);
}

// The status must be 200 and the Content-Length the expected one; returns what is wrong, or NULL.
static const char *readHead(Connection *c, const char *head, size_t length) {
    if (length < 12 || memcmp(head, "HTTP/1.1 200", 12)) return "status is not 200";
    static const char name[] = "\ncontent-length:";
    for (size_t i = 0; i + sizeof name < length; i++) {
        if (head[i] == '\n' && !strncasecmp(head + i, name, sizeof name - 1)) {
            c->bodyLeft = strtol(head + i + sizeof name - 1, NULL, 10);
            return c->bodyLeft == options.bodyLength || options.bodyLength < 0
                       ? NULL
                       : "wrong Content-Length";
        }
    }
    return "no Content-Length";
}

static void takeHead(Connection *c, const char **bytes, size_t *count) {
    const char *head = *bytes;
    size_t length = *count, before = (size_t)c->headLength;
    if (before) {
        size_t room = HEAD_LIMIT - before, n = *count < room ? *count : room;
        memcpy(c->head + before, *bytes, n);
        head = c->head;
        length = before + n;
    }
    const char *end = memmem(head, length, "\r\n\r\n", 4);
    if (!end) {
        if (length >= HEAD_LIMIT) {
            finish(c, "head too long");
            return;
        }
        if (!c->head && !(c->head = malloc(HEAD_LIMIT))) die("malloc");
        if (!before) memcpy(c->head, *bytes, length);
        c->headLength = (int)length;
        *count = 0;
        return;
    }
    size_t headSize = (size_t)(end + 4 - head), taken = headSize - before;
    const char *failure = readHead(c, head, headSize);
    *bytes += taken;
    *count -= taken;
    c->headLength = 0;
    if (failure) finish(c, failure);
    else c->state = BODY;
}

static void afterAnswer(Connection *c) {
    if (options.hold) {
        c->state = IDLE;
    } else if (options.newConnections) {
        c->state = ENDING;
    } else {
        begin(c);
    }
}

static void take(Connection *c, const char *bytes, size_t count) {
    if (c->state == HEAD) {
        takeHead(c, &bytes, &count);
        if (c->state != BODY) return;
    }
    if (c->state != BODY || (long)count > c->bodyLeft) {
        if (c->state == BODY) finish(c, "more bytes than the body has");
        else drop(c);
        return;
    }
    c->bodyLeft -= (long)count;
    bodyBytes += count;
    if (c->bodyLeft > 0) return;
    finish(c, NULL);
    afterAnswer(c);
}

static void ended(Connection *c) {
    State was = c->state;
    drop(c);
    if (was == HEAD || was == BODY) finish(c, "closed before the answer was whole");
    else if (was != ENDING) reconnects++;
}

static void serve(Connection *c, uint32_t events) {
    if (c->state == CONNECTING && (events & EPOLLOUT)) {
        int problem = 0;
        socklen_t size = sizeof problem;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem) {
            finish(c, "connect failed");
        } else {
            sendRequest(c);
        }
    } else {
        ssize_t n = recv(c->fd, readBuffer, sizeof readBuffer, 0);
        if (n > 0) take(c, readBuffer, (size_t)n);
        else if (n == 0 || errno != EAGAIN) ended(c);
    }
    if (!options.hold && c->state == CLOSED) begin(c);
    while (options.hold && inFlight < IN_FLIGHT_WHEN_HOLDING && started < options.requests)
        begin(&connections[started]);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(uint64_t elapsed) {
    qsort(latencies, (size_t)latencyCount, sizeof *latencies, ascending);
    uint32_t p50 = latencyCount ? latencies[latencyCount / 2] : 0;
    uint32_t p99 = latencyCount ? latencies[latencyCount * 99 / 100] : 0;
    printf("requests=%ld failures=%ld reconnects=%ld seconds=%.6f p50_us=%u p99_us=%u "
           "body_bytes=%llu\n",
           finished, failures, reconnects, (double)elapsed / 1e9, p50, p99,
           (unsigned long long)bodyBytes);
    if (firstFailure) fprintf(stderr, "loadgen: first failure: %s\n", firstFailure);
    fflush(stdout);
}

// Waits for the end of stdin, then says how many connections the proxy has kept.
static void holdOpen(void) {
    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0) {}
    int open = 0;
    for (int i = 0; i < options.connections; i++) {
        char byte;
        if (connections[i].fd >= 0 &&
            recv(connections[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
            open++;
    }
    printf("open=%d\n", open);
}

static void readOptions(int count, char **arguments) {
    int option;
    while ((option = getopt(count, arguments, "c:n:l:h:p:f:s:t:xi")) != -1) {
        switch (option) {
        case 'c': options.connections = atoi(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 'l': options.bodyLength = atol(optarg); break;
        case 'h': options.host = optarg; break;
        case 'p': options.path = optarg; break;
        case 'f': options.field = optarg; break;
        case 's': options.spread = atoi(optarg); break;
        case 't': options.seconds = atoi(optarg); break;
        case 'x': options.newConnections = 1; break;
        case 'i': options.hold = 1; break;
        default: goto usage;
        }
    }
    if (optind + 1 == count) options.port = atoi(arguments[optind]);
    if (options.hold) options.requests = options.connections;
    if (options.port > 0 && options.connections > 0 && options.requests > 0 && options.spread > 0)
        return;
usage:
    fprintf(
        stderr,
        "usage: loadgen [options] PORT   (on 127.0.0.1)\n"
        "  -c N   connections (64)\n"
        "  -n N   requests in all (10000)\n"
        "  -p S   path; %%d becomes a number (/1k)\n"
        "  -h S   Host; %%d becomes a number\n"
        "  -f S   one more field, `name: value`; %%d becomes a number\n"
        "  -s N   how many numbers to go through (1)\n"
        "  -l N   expected body length\n"
        "  -t N   give up after so many seconds (120)\n"
        "  -x     a new connection for each request\n"
        "  -i     one request on each connection, 64 at a time, then hold all until stdin ends\n");
    exit(2);
}

int main(int count, char **arguments) {
    readOptions(count, arguments);
    renderRequests();
    connections = calloc((size_t)options.connections, sizeof *connections);
    latencies = malloc((size_t)options.requests * sizeof *latencies);
    if (!connections || !latencies) die("malloc");
    epollFd = epoll_create1(EPOLL_CLOEXEC);
    if (epollFd < 0) die("epoll_create1");
    startedAt = now();
    deadline = startedAt + (uint64_t)options.seconds * 1000000000u;

    for (int i = 0; i < options.connections; i++) connections[i].fd = -1;
    int atOnce = options.hold && options.connections > IN_FLIGHT_WHEN_HOLDING
                     ? IN_FLIGHT_WHEN_HOLDING
                     : options.connections;
    for (int i = 0; i < atOnce; i++) begin(&connections[i]);

    struct epoll_event events[256];
    while (finished < options.requests) {
        int n = epoll_wait(epollFd, events, 256, 1000);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) serve(events[i].data.ptr, events[i].events);
        if (now() > deadline) {
            firstFailure = "out of time";
            break;
        }
    }
    report(now() - startedAt);
    if (options.hold) holdOpen();
    return failures == 0 && finished == options.requests ? 0 : 1;
}
