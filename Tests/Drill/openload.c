// Open-loop HTTP/1.1 load from one thread: requests arrive when they are due, whatever became of
// those before them.
//
// A closed loop slows down with what it measures, and an overload then never happens. Here each
// stream is a Poisson process whose rate follows a plan; latency counts from the moment a request
// was due, so a late generator or a full connection pool cannot hide waiting. A request that is
// past its deadline is cancelled by closing its connection, as browsers do, and may be tried again
// at once, as impatient clients do.
//
// The plan comes on stdin, as plan.h says. One record a request goes to the
// file named on the command line; a summary as JSON goes to stdout when all is over.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"

enum { MAX_RECORDS = 4000000, HEAD_LIMIT = 4096, REQUEST_LIMIT = 768 };

// How a request ended, where it did not end with a status.
enum { CUT = 0, TIMED_OUT = 1, UNFINISHED = 2 };

struct Request {
    Stream *stream;
    Connection *connection; // NULL while it waits for one
    Request *before, *after;           // in its stream's `open`
    Request *waitingBefore, *waitingAfter; // in `waiting`
    uint64_t scheduled, deadline;
    uint32_t number;
    int attempts;
};

struct Connection {
    int fd;
    int isConnecting, closes;
    Request *request;
    Connection *idleBefore, *idleAfter, *nextDead;
    char *head; // only while a head arrives in pieces
    int headLength, status;
    long bodyLeft; // -1 until the head is whole
};

typedef struct __attribute__((packed)) {
    uint32_t due, latency; // microseconds; `due` from the beginning
    uint8_t stream, attempts;
    uint16_t status;
} Record;

static uint64_t startedAt, endsAt;
static Record *records;
static long recordCount;
static int connectionCount;
static Connection *idleFirst, *idleLast, *dead;
static Request *waitingFirst, *waitingLast;
static int epollFd, openRequests;
static long connects, mostConnections, waited, cut;
static uint64_t lagSum, lagMax;
static long lagCount, lagOverMillisecond;
static char readBuffer[64 << 10];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// MARK: Lists

static void push(List *list, Request *r) {
    r->before = list->last;
    r->after = NULL;
    if (list->last) list->last->after = r;
    else list->first = r;
    list->last = r;
}

static void unlinkRequest(List *list, Request *r) {
    if (r->before) r->before->after = r->after;
    else list->first = r->after;
    if (r->after) r->after->before = r->before;
    else list->last = r->before;
}

static void wait(Request *r) {
    r->waitingBefore = waitingLast;
    r->waitingAfter = NULL;
    if (waitingLast) waitingLast->waitingAfter = r;
    else waitingFirst = r;
    waitingLast = r;
    waited++;
}

static void stopWaiting(Request *r) {
    if (r->waitingBefore) r->waitingBefore->waitingAfter = r->waitingAfter;
    else waitingFirst = r->waitingAfter;
    if (r->waitingAfter) r->waitingAfter->waitingBefore = r->waitingBefore;
    else waitingLast = r->waitingBefore;
}

static void rest(Connection *c) {
    c->idleAfter = NULL;
    c->idleBefore = idleLast;
    if (idleLast) idleLast->idleAfter = c;
    else idleFirst = c;
    idleLast = c;
}

static void wake(Connection *c) {
    if (c->idleBefore) c->idleBefore->idleAfter = c->idleAfter;
    else idleFirst = c->idleAfter;
    if (c->idleAfter) c->idleAfter->idleBefore = c->idleBefore;
    else idleLast = c->idleBefore;
}

// MARK: Requests

static void attempt(Request *r);

static void record(Request *r, int status, uint64_t at) {
    if (recordCount < MAX_RECORDS) {
        uint64_t latency = (at - startedAt - r->scheduled) / 1000;
        records[recordCount++] = (Record){
            .due = (uint32_t)(r->scheduled / 1000),
            .latency = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency,
            .stream = (uint8_t)(r->stream - streams),
            .attempts = (uint8_t)r->attempts,
            .status = (uint16_t)status,
        };
    }
    openRequests--;
    free(r);
}

// An attempt is over: with an HTTP status, or with CUT or TIMED_OUT.
static void conclude(Request *r, int status) {
    unlinkRequest(&r->stream->open, r);
    r->connection = NULL;
    int isGood = status >= 200 && status < 300;
    if (!isGood && r->attempts <= r->stream->retries) {
        attempt(r);
        return;
    }
    record(r, status, now());
}

static void drop(Connection *c) {
    if (!c->request) wake(c);
    close(c->fd);
    connectionCount--;
    // Its events may still be in the batch at hand.
    c->fd = -1;
    c->nextDead = dead;
    dead = c;
}

static void bury(void) {
    while (dead) {
        Connection *c = dead;
        dead = c->nextDead;
        free(c->head);
        free(c);
    }
}

static void watch(Connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epollFd, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static Connection *connectAnew(void) {
    if (connectionCount >= limit) return NULL;
    Connection *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)ports[connects % portCount]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        // Refused at once is told by the first send; out of ports is not the proxy's fault.
        if (errno == EADDRNOTAVAIL) die("connect");
        c->isConnecting = errno == EINPROGRESS;
    }
    connects++;
    if (++connectionCount > mostConnections) mostConnections = connectionCount;
    watch(c, EPOLL_CTL_ADD, c->isConnecting ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return c;
}

// The connection has failed or was closed: so has what was on it.
static void lose(Connection *c) {
    Request *r = c->request;
    if (r) {
        c->request = NULL;
        rest(c); // so that `drop` finds it where idle ones are
        cut++;
    }
    drop(c);
    if (r) conclude(r, CUT);
}

static void sendRequest(Connection *c) {
    Request *r = c->request;
    Stream *s = r->stream;
    char text[REQUEST_LIMIT];
    int isPost = !strcmp(s->method, "POST");
    int n = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: drill.example.com\r\nUser-Agent: openload\r\n"
                     "x-api-key: %s%u\r\n%s%s\r\n%s",
                     s->method, s->path, s->tenant, r->number % (uint32_t)s->tenants, s->headers,
                     isPost ? "Content-Length: 2\r\n" : "", isPost ? "{}" : "");
    if (n >= (int)sizeof text) die("request too long");
    c->headLength = 0;
    c->bodyLeft = -1;
    c->closes = 0;
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n) lose(c);
}

static void assign(Connection *c, Request *r) {
    c->request = r;
    r->connection = c;
    if (!c->isConnecting) sendRequest(c);
}

static void attempt(Request *r) {
    r->attempts++;
    r->stream->attempts++;
    r->deadline = now() + r->stream->patience;
    push(&r->stream->open, r);
    Connection *c = idleFirst;
    if (c) wake(c);
    else c = connectAnew();
    if (c) assign(c, r);
    else wait(r);
}

static void serveWaiting(void) {
    while (waitingFirst && (idleFirst || connectionCount < limit)) {
        Request *r = waitingFirst;
        stopWaiting(r);
        Connection *c = idleFirst;
        if (c) wake(c);
        else c = connectAnew();
        if (!c) return;
        assign(c, r);
    }
}

static void begin(Stream *s) {
    Request *r = calloc(1, sizeof *r);
    if (!r) die("calloc");
    r->stream = s;
    r->scheduled = s->next;
    r->number = (uint32_t)s->due++;
    openRequests++;
    uint64_t lag = now() - startedAt - s->next;
    lagSum += lag;
    lagCount++;
    if (lag > lagMax) lagMax = lag;
    if (lag > 1000000) lagOverMillisecond++;
    s->next = nextDue((int)(s - streams), s->next);
    attempt(r);
}

static void cancelOverdue(uint64_t time) {
    for (int i = 0; i < streamCount; i++) {
        Request *r;
        while ((r = streams[i].open.first) && r->deadline <= time) {
            Connection *c = r->connection;
            if (c) {
                c->request = NULL;
                rest(c);
                drop(c);
            } else {
                stopWaiting(r);
            }
            conclude(r, TIMED_OUT);
        }
    }
}

// MARK: Answers

// Returns 0 when the head is not one that this generator can follow.
static int readHead(Connection *c, const char *head, size_t length) {
    if (length < 12 || memcmp(head, "HTTP/1.1 ", 9)) return 0;
    c->status = atoi(head + 9);
    c->bodyLeft = c->status == 204 || c->status == 304 ? 0 : -1;
    for (const char *line = memchr(head, '\n', length); line && line + 1 < head + length;
         line = memchr(line + 1, '\n', (size_t)(head + length - line - 1))) {
        if (!strncasecmp(line + 1, "content-length:", 15)) c->bodyLeft = atol(line + 16);
        if (!strncasecmp(line + 1, "connection: close", 17)) c->closes = 1;
    }
    return c->bodyLeft >= 0;
}

// Takes the head out of what was read; returns how much of it was the head's, -1 when it is bad.
static long takeHead(Connection *c, const char *bytes, size_t count) {
    const char *head = bytes;
    size_t length = count, before = (size_t)c->headLength;
    if (before) {
        size_t n = count < HEAD_LIMIT - before ? count : HEAD_LIMIT - before;
        memcpy(c->head + before, bytes, n);
        head = c->head;
        length = before + n;
    }
    const char *end = memmem(head, length, "\r\n\r\n", 4);
    if (!end) {
        if (length >= HEAD_LIMIT) return -1;
        if (!c->head && !(c->head = malloc(HEAD_LIMIT))) die("malloc");
        if (!before) memcpy(c->head, bytes, length);
        c->headLength = (int)length;
        return (long)count;
    }
    c->headLength = 0;
    if (!readHead(c, head, (size_t)(end + 4 - head))) return -1;
    return (long)((size_t)(end + 4 - head) - before);
}

static void receive(Connection *c) {
    ssize_t n = recv(c->fd, readBuffer, sizeof readBuffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !c->request) {
        lose(c);
        return;
    }
    const char *bytes = readBuffer;
    size_t count = (size_t)n;
    if (c->bodyLeft < 0) {
        long taken = takeHead(c, bytes, count);
        if (taken < 0) {
            lose(c);
            return;
        }
        bytes += taken;
        count -= (size_t)taken;
        if (c->bodyLeft < 0) return;
    }
    if ((long)count > c->bodyLeft) {
        lose(c);
        return;
    }
    c->bodyLeft -= (long)count;
    if (c->bodyLeft > 0) return;
    Request *r = c->request;
    c->request = NULL;
    rest(c);
    if (c->closes) drop(c);
    conclude(r, c->status);
}

static void serve(Connection *c, uint32_t events) {
    if (c->isConnecting) {
        int problem = 0;
        socklen_t size = sizeof problem;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem || (events & (EPOLLERR | EPOLLHUP))) {
            lose(c);
            return;
        }
        if (!(events & EPOLLOUT)) return;
        c->isConnecting = 0;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        if (c->request) sendRequest(c);
        return;
    }
    receive(c);
}

// MARK: The run

// Waits until something happens, at most until `time`.
static void listenUntil(uint64_t time) {
    uint64_t current = now(), pause = time > current ? time - current : 0;
    struct timespec span = {.tv_sec = (time_t)(pause / 1000000000u),
                            .tv_nsec = (long)(pause % 1000000000u)};
    struct epoll_event events[256];
    int n = epoll_pwait2(epollFd, events, 256, &span, NULL);
    if (n < 0 && errno != EINTR) die("epoll_pwait2");
    for (int i = 0; i < n; i++) {
        Connection *c = events[i].data.ptr;
        if (c->fd >= 0) serve(c, events[i].events);
    }
    bury();
}

static uint64_t nextEvent(uint64_t time) {
    uint64_t next = time + 100000000u;
    for (int i = 0; i < streamCount; i++) {
        Stream *s = &streams[i];
        if (s->next != UINT64_MAX && s->next + startedAt < next) next = s->next + startedAt;
        if (s->open.first && s->open.first->deadline < next) next = s->open.first->deadline;
    }
    return next;
}

static void run(void) {
    startedAt = now();
    uint64_t last = phases[phaseCount - 1].end, longest = 0;
    for (int i = 0; i < streamCount; i++) {
        Stream *s = &streams[i];
        uint64_t total = s->patience * (uint64_t)(s->retries + 1);
        if (total > longest) longest = total;
        s->next = nextDue(i, 0);
    }
    endsAt = startedAt + last + longest + 1000000000u;
    puts("started");
    fflush(stdout);
    for (;;) {
        uint64_t time = now();
        int haveMore = 0;
        for (int i = 0; i < streamCount; i++) {
            Stream *s = &streams[i];
            while (s->next != UINT64_MAX && s->next + startedAt <= time) begin(s);
            if (s->next != UINT64_MAX) haveMore = 1;
        }
        if ((!haveMore && openRequests == 0) || time > endsAt) return;
        cancelOverdue(time);
        serveWaiting();
        listenUntil(nextEvent(time));
    }
}

static void recordUnfinished(void) {
    for (int i = 0; i < streamCount; i++) {
        Request *r;
        while ((r = streams[i].open.first)) {
            unlinkRequest(&streams[i].open, r);
            record(r, UNFINISHED, now());
        }
    }
}

static void report(void) {
    printf("{\"seconds\":%.6f,\"records\":%ld,\"connects\":%ld,\"most_connections\":%ld,"
           "\"waited\":%ld,\"cut\":%ld,\"lag_mean_us\":%.1f,\"lag_max_us\":%llu,"
           "\"late_share\":%.6f,\"streams\":[",
           (double)(now() - startedAt) / 1e9, recordCount, connects, mostConnections, waited, cut,
           lagCount ? (double)lagSum / 1e3 / (double)lagCount : 0,
           (unsigned long long)(lagMax / 1000),
           lagCount ? (double)lagOverMillisecond / (double)lagCount : 0);
    for (int i = 0; i < streamCount; i++)
        printf("%s{\"name\":\"%s\",\"due\":%ld,\"attempts\":%ld}", i ? "," : "", streams[i].name,
               streams[i].due, streams[i].attempts);
    puts("]}");
}

int main(int count, char **arguments) {
    if (count != 2) {
        fputs("usage: openload RECORDS < PLAN   (on 127.0.0.1)\n", stderr);
        return 2;
    }
    readPlan();
    FILE *out = fopen(arguments[1], "wb");
    if (!out) die(arguments[1]);
    records = malloc(MAX_RECORDS * sizeof *records);
    if (!records) die("malloc");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    epollFd = epoll_create1(EPOLL_CLOEXEC);
    if (epollFd < 0) die("epoll_create1");
    run();
    recordUnfinished();
    if (fwrite(records, sizeof *records, (size_t)recordCount, out) != (size_t)recordCount ||
        fclose(out))
        die(arguments[1]);
    report();
    return 0;
}
