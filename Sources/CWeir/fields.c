// Recognises field names with one look into a table, and reads plain field lines.

#include "fields.h"

#include <string.h>

#include "scan.h"

// One that can be looked at as a whole, with its colon: 15 bytes of name.
struct known_name {
    uint8_t name[17];  // with the NUL behind the longest
    uint32_t mask;  // a bit for each byte of the name and its colon
    uint32_t mark;
} __attribute__((aligned(32)));

enum { SLOTS = 64 };

// `first` and `last` are lower case; a collision is an error of the compiler.
#define SLOT(length, first, last) (((length) + (first) + 2u * (last)) % SLOTS)
#define KNOWN(text, first, last, mark)       \
    [SLOT(sizeof(text) - 1, first, last)] = { \
        text ":", (1u << sizeof(text)) - 1, mark}

static const struct known_name known_names[SLOTS] = {
    KNOWN("te", 't', 'e', WEIR_TE | WEIR_HOP_BY_HOP | WEIR_NOTED),
    KNOWN("via", 'v', 'a', WEIR_VIA),
    KNOWN("host", 'h', 't', WEIR_HOST_FIELD | WEIR_NOTED),
    KNOWN("date", 'd', 'e', WEIR_DATE),
    KNOWN("accept", 'a', 't', WEIR_ACCEPT),
    KNOWN("cookie", 'c', 'e', WEIR_COOKIE),
    KNOWN("server", 's', 'r', WEIR_SERVER),
    KNOWN("expect", 'e', 't', WEIR_EXPECT | WEIR_NOTED),
    KNOWN("upgrade", 'u', 'e', WEIR_UPGRADE | WEIR_HOP_BY_HOP | WEIR_NOTED),
    KNOWN("trailer", 't', 'r', WEIR_TRAILER),
    KNOWN("location", 'l', 'n', WEIR_LOCATION),
    KNOWN("forwarded", 'f', 'd', WEIR_FORWARDED),
    KNOWN("connection", 'c', 'n', WEIR_CONNECTION | WEIR_HOP_BY_HOP | WEIR_NOTED),
    KNOWN("user-agent", 'u', 't', WEIR_USER_AGENT),
    KNOWN("keep-alive", 'k', 'e', WEIR_KEEP_ALIVE | WEIR_HOP_BY_HOP),
    KNOWN("set-cookie", 's', 'e', WEIR_SET_COOKIE),
    KNOWN("retry-after", 'r', 'r', WEIR_RETRY_AFTER),
    KNOWN("content-type", 'c', 'e', WEIR_CONTENT_TYPE),
    KNOWN("x-request-id", 'x', 'd', WEIR_X_REQUEST_ID),
    KNOWN("cache-control", 'c', 'l', WEIR_CACHE_CONTROL),
    KNOWN("x-weir-attempt", 'x', 't', WEIR_X_WEIR_ATTEMPT | WEIR_NOTED),
    KNOWN("authorization", 'a', 'n', WEIR_AUTHORIZATION),
    KNOWN("content-length", 'c', 'h', WEIR_CONTENT_LENGTH | WEIR_NOTED),
    KNOWN("x-forwarded-for", 'x', 'r', WEIR_X_FORWARDED_FOR),
};

// The few that are longer.
static const struct {
    const char *name;
    uint32_t mark;
} long_names[] = {
    {"x-forwarded-host", WEIR_X_FORWARDED_HOST},
    {"proxy-connection", WEIR_PROXY_CONNECTION | WEIR_HOP_BY_HOP},
    {"x-request-deadline", WEIR_X_REQUEST_DEADLINE | WEIR_NOTED},
    {"transfer-encoding", WEIR_TRANSFER_ENCODING | WEIR_HOP_BY_HOP | WEIR_NOTED},
    {"x-forwarded-proto", WEIR_X_FORWARDED_PROTO},
    {"proxy-authenticate", WEIR_PROXY_AUTHENTICATE | WEIR_HOP_BY_HOP},
    {"x-forwarded-client-cert", WEIR_X_FORWARDED_CLIENT_CERT},
    {"proxy-authorization", WEIR_PROXY_AUTHORIZATION | WEIR_HOP_BY_HOP},
};
enum { LONGEST = 23 };

static const struct known_name *slot_of(const uint8_t *name, size_t length) {
    return &known_names[SLOT(length, name[0] | 0x20u, name[length - 1] | 0x20u)];
}

uint32_t weir_know_field(const void *name, size_t length) {
    if (length == 0 || length > LONGEST) return WEIR_OTHER;
    uint8_t lower[LONGEST + 1] = {0};
    memcpy(lower, name, length);
    for (size_t i = 0; i < length; i++) lower[i] |= 0x20;
    if (length < 16) {
        lower[length] = ':';
        const struct known_name *known = slot_of(lower, length);
        return memcmp(known->name, lower, length + 1) == 0 ? known->mark : WEIR_OTHER;
    }
    for (size_t i = 0; i < sizeof long_names / sizeof *long_names; i++) {
        if (strcmp(long_names[i].name, (const char *)lower) == 0) return long_names[i].mark;
    }
    return WEIR_OTHER;
}

#if defined(__SSE2__)
static bool is_pair(const uint8_t *bytes, const char *pair) { return memcmp(bytes, pair, 2) == 0; }

/// A bit for each of sixteen bytes that is no visible ASCII and no space.
static unsigned odd_mask(const uint8_t *bytes) {
    // One more makes DEL and all that is no ASCII negative: less than any visible byte.
    __m128i v = _mm_add_epi8(_mm_loadu_si128((const __m128i *)bytes), _mm_set1_epi8(1));
    return (unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(v, _mm_set1_epi8(' '))) ^ 0xffffu;
}

struct weir_field_run weir_read_plain_fields(
    const uint8_t *bytes, size_t at, size_t end, void *fields, size_t room) {
    struct weir_field_run run = {0, at, 0};
    if (end < 16) return run;
    const size_t last = end - 16;
    struct weir_field *const first = fields, *field = first;
    struct weir_field *const behind = first + (room < 64 ? room : 64);
    // Sixteen bytes from anywhere before `last` leave one behind them.
    for (; at < last && field < behind; field++) {
        __m128i name = _mm_loadu_si128((const __m128i *)(bytes + at));
        unsigned mask = weir_name_stop_mask(name);
        if (mask == 0) break;
        size_t length = (size_t)__builtin_ctz(mask), colon = at + length;
        if (length == 0 || !is_pair(bytes + colon, ": ")) break;

        size_t value = colon + 2, stop = value;
        unsigned odd = 0;
        while (stop <= last && !(odd = odd_mask(bytes + stop))) stop += 16;
        if (stop > last) {
            // The rest is the upper part of the last sixteen bytes.
            if (stop - last >= 16) break;
            odd = odd_mask(bytes + last) >> (stop - last);
            if (!odd) break;
        }
        stop += (size_t)__builtin_ctz(odd);
        if (stop > last + 14 || !is_pair(bytes + stop, "\r\n")) break;
        // A blank at either end, or no value at all.
        if (bytes[value] <= ' ' || bytes[stop - 1] <= ' ') break;

        const struct known_name *known = slot_of(bytes + at, length);
        name = _mm_or_si128(name, _mm_set1_epi8(0x20));
        name = _mm_cmpeq_epi8(name, _mm_load_si128((const __m128i *)known->name));
        uint32_t mark = 0;
        if ((unsigned)_mm_movemask_epi8(name) == known->mask) {
            mark = known->mark;
            run.noted |= (uint64_t)(mark / WEIR_NOTED) << (field - first);
        }
        field->name_start = (uint32_t)at;
        field->name_length = (uint16_t)length;
        field->known = (uint16_t)mark;
        field->value_start = (uint32_t)value;
        field->value_length = (uint32_t)(stop - value);
        at = stop + 2;
    }
    run.count = (size_t)(field - first);
    run.next = at;
    return run;
}
#else
struct weir_field_run weir_read_plain_fields(
    const uint8_t *bytes, size_t at, size_t end, void *fields, size_t room) {
    (void)bytes, (void)end, (void)fields, (void)room;
    return (struct weir_field_run){0, at, 0};
}
#endif
