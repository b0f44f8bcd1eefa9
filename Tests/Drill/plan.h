// The plan of a load: streams of requests, and how many of each are due a second in each phase.
//
// It is read from stdin, one statement a line:
//
//     port 8080                       where to send (repeat: connections go to each in turn)
//     seed 1                          decides when requests are due
//     connections 2000                at most so many at once
//     stream name=polite tenant=p tenants=9 priority=default path=/x method=GET
//            patience_ms=500 retries=3            (on one line; all but the name may be left out)
//     phase 10 200 200-2400           seconds, then requests a second of each stream, or a ramp
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STREAMS = 16,
    MAX_PHASES = 64,
    MAX_PORTS = 16,
    MAX_CONNECTIONS = 8000,
    MAX_SECONDS = 300,
};

typedef struct Request Request;
typedef struct Connection Connection;

typedef struct {
    Request *first, *last;
} List;

typedef struct {
    char name[32], path[128], method[8], headers[256], tenant[32];
    int tenants, retries;
    uint64_t patience; // nanoseconds until an attempt is cancelled
    uint64_t next;     // when the next request is due
    List open;         // attempts by their deadline, which is the order they began in
    long due, attempts;
} Stream;

typedef struct {
    uint64_t begin, end;
    double from[MAX_STREAMS], to[MAX_STREAMS];
} Phase;

static Stream streams[MAX_STREAMS];
static Phase phases[MAX_PHASES];
static int ports[MAX_PORTS];
static int streamCount, phaseCount, portCount, limit = 2000;
static uint64_t chanceState = 1;

static void die(const char *what) {
    fprintf(stderr, "openload: %s: %s\n", what, errno ? strerror(errno) : "not understood");
    exit(2);
}

// SplitMix64 (Steele, Lea, Flood 2014).
static double chance(void) {
    uint64_t z = (chanceState += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) / (double)(1ull << 53);
}

// MARK: The plan

static void readStream(char *words) {
    if (streamCount == MAX_STREAMS) die("too many streams");
    Stream *s = &streams[streamCount++];
    double patience = 1000;
    *s = (Stream){.tenants = 1};
    strcpy(s->method, "GET");
    strcpy(s->path, "/");
    for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n")) {
        char *value = strchr(word, '=');
        if (!value) die(word);
        *value++ = 0;
        if (!strcmp(word, "name")) snprintf(s->name, sizeof s->name, "%s", value);
        else if (!strcmp(word, "path")) snprintf(s->path, sizeof s->path, "%s", value);
        else if (!strcmp(word, "method")) snprintf(s->method, sizeof s->method, "%s", value);
        else if (!strcmp(word, "tenant")) snprintf(s->tenant, sizeof s->tenant, "%s", value);
        else if (!strcmp(word, "tenants")) s->tenants = atoi(value);
        else if (!strcmp(word, "retries")) s->retries = atoi(value);
        else if (!strcmp(word, "patience_ms")) patience = atof(value);
        else if (!strcmp(word, "priority"))
            snprintf(s->headers, sizeof s->headers, "x-priority: %s\r\n", value);
        else die(word);
    }
    if (s->tenants < 1 || s->retries < 0 || s->retries > 10 || patience < 1) die("stream");
    s->patience = (uint64_t)(patience * 1e6);
}

// Seconds, then a rate for each stream: `200`, or `200-2400` for a ramp.
static void readPhase(char *words) {
    if (phaseCount == MAX_PHASES) die("too many phases");
    Phase *p = &phases[phaseCount];
    char *word = strtok(words, " \n");
    double seconds = word ? atof(word) : 0;
    p->begin = phaseCount ? phases[phaseCount - 1].end : 0;
    p->end = p->begin + (uint64_t)(seconds * 1e9);
    if (seconds <= 0 || p->end > MAX_SECONDS * 1000000000ull) die("phase");
    for (int i = 0; i < streamCount; i++) {
        if (!(word = strtok(NULL, " \n"))) die("a phase lacks a rate");
        char *rest;
        p->from[i] = p->to[i] = strtod(word, &rest);
        if (*rest == '-') p->to[i] = strtod(rest + 1, &rest);
        if (*rest || p->from[i] < 0 || p->to[i] < 0) die("rate");
    }
    phaseCount++;
}

static void readPlan(void) {
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        char *rest = line + strcspn(line, " \n");
        if (*rest) *rest++ = 0;
        if (!strcmp(line, "port") && portCount < MAX_PORTS) ports[portCount++] = atoi(rest);
        else if (!strcmp(line, "seed")) chanceState = strtoull(rest, NULL, 10);
        else if (!strcmp(line, "connections")) limit = atoi(rest);
        else if (!strcmp(line, "stream")) readStream(rest);
        else if (!strcmp(line, "phase")) readPhase(rest);
        else die(line);
    }
    if (!portCount || !streamCount || !phaseCount || limit < 1 || limit > MAX_CONNECTIONS)
        die("plan");
}

// When the stream's next request is due, after `from`; both from the beginning.
static uint64_t nextDue(int stream, uint64_t from) {
    for (int i = 0; i < phaseCount; i++) {
        Phase *p = &phases[i];
        if (from >= p->end) continue;
        if (from < p->begin) from = p->begin;
        double share = (double)(from - p->begin) / (double)(p->end - p->begin);
        double rate = p->from[stream] + (p->to[stream] - p->from[stream]) * share;
        // A ramp from nothing has to begin somewhere.
        if (rate < 1 && p->to[stream] > 0) rate = 1;
        if (rate <= 0) continue;
        uint64_t due = from + (uint64_t)(-log(1 - chance()) * 1e9 / rate);
        if (due < p->end) return due;
        // The process has no memory: it may start anew where the rate changes.
        from = p->end;
    }
    return UINT64_MAX;
}
