// Byte scanners for the HTTP/1 codec: 16 bytes a step where SSE2 exists, one elsewhere.
//
// Each takes the memory, an index to start at and the index to stop before, reads nothing
// outside those two, and returns the index of the first byte it was asked for, or the end.
#ifndef CWEIR_SCAN_H
#define CWEIR_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    WEIR_TOKEN = 1,    // tchar, RFC 9110 section 5.6.2
    WEIR_HOST = 2,     // unreserved and sub-delims of RFC 3986, without "," (it joins lists)
    WEIR_CONTROL = 4,  // CTL without HTAB: what a field value may not hold
    WEIR_HEX = 8,
    WEIR_DIGIT = 16,
    WEIR_TARGET = 32,  // visible ASCII without "#"
};

static inline uint8_t weir_byte_class(uint8_t byte) {
    static const uint8_t classes[256] = {
        4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 4, 4, 4, 4, 4, 4,
        4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
        0, 35, 32, 1, 35, 33, 35, 35, 34, 34, 35, 35, 32, 35, 35, 32,
        59, 59, 59, 59, 59, 59, 59, 59, 59, 59, 32, 34, 32, 34, 32, 32,
        32, 43, 43, 43, 43, 43, 43, 35, 35, 35, 35, 35, 35, 35, 35, 35,
        35, 35, 35, 35, 35, 35, 35, 35, 35, 35, 35, 32, 32, 32, 33, 35,
        33, 43, 43, 43, 43, 43, 43, 35, 35, 35, 35, 35, 35, 35, 35, 35,
        35, 35, 35, 35, 35, 35, 35, 35, 35, 35, 35, 32, 33, 32, 35, 4,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    };
    return classes[byte];
}

static inline bool weir_byte_is(uint8_t byte, long kind) { return weir_byte_class(byte) & kind; }

/// What a scan stops at.
enum weir_stop {
    WEIR_AT_CONTROL,    // any control, HTAB too
    WEIR_AT_NON_WORD,   // no letter, digit, "-" or "."
    WEIR_AT_NON_NAME,   // no letter or "-": nearly all field names have only these
    WEIR_AT_NON_TARGET,
    WEIR_AT_QUESTION,
    WEIR_AT_ODD_PATH,   // "%", "." or a backslash: a path that calls for a closer look
};

static inline bool weir_stops_at(uint8_t byte, enum weir_stop stop) {
    switch (stop) {
        case WEIR_AT_CONTROL: return byte < 0x20 || byte == 0x7f;
        case WEIR_AT_NON_WORD:
            return !weir_byte_is(byte, WEIR_DIGIT) && (uint8_t)((byte | 0x20) - 'a') > 25 &&
                   byte != '-' && byte != '.';
        case WEIR_AT_NON_NAME: return (uint8_t)((byte | 0x20) - 'a') > 25 && byte != '-';
        case WEIR_AT_NON_TARGET: return !weir_byte_is(byte, WEIR_TARGET);
        case WEIR_AT_QUESTION: return byte == '?';
        case WEIR_AT_ODD_PATH: return byte == '%' || byte == '.' || byte == '\\';
    }
    return true;
}

#if defined(__SSE2__)
/// The bytes of sixteen that are at most `top` away from `low`, upwards.
static inline __m128i weir_in_range(__m128i v, char low, char top) {
    __m128i distance = _mm_sub_epi8(v, _mm_set1_epi8(low));
    return _mm_cmpeq_epi8(_mm_min_epu8(distance, _mm_set1_epi8(top)), distance);
}

static inline __m128i weir_equal(__m128i v, char byte) {
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(byte));
}

/// A bit for each of sixteen bytes that is no letter and no "-".
static inline unsigned weir_name_stop_mask(__m128i v) {
    // Letters become the least of all signed bytes.
    __m128i letters = _mm_or_si128(v, _mm_set1_epi8(0x20));
    letters = _mm_add_epi8(letters, _mm_set1_epi8((char)(0x80 - 'a')));
    __m128i others = _mm_cmpgt_epi8(letters, _mm_set1_epi8(-128 + 25));
    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(weir_equal(v, '-'), others));
}

/// `weir_stops_at` for sixteen bytes, as a mask.
static inline unsigned weir_stop_mask(const uint8_t *_Nonnull bytes, enum weir_stop stop) {
    __m128i v = _mm_loadu_si128((const __m128i *)bytes), good;
    switch (stop) {
        case WEIR_AT_CONTROL:
            return (unsigned)_mm_movemask_epi8(
                _mm_or_si128(weir_in_range(v, 0, 0x1f), weir_equal(v, 0x7f)));
        case WEIR_AT_NON_WORD:
            good = weir_in_range(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 25);
            good = _mm_or_si128(good, weir_in_range(v, '0', 9));
            good = _mm_or_si128(good, weir_in_range(v, '-', 1));
            return (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
        case WEIR_AT_NON_NAME: return weir_name_stop_mask(v);
        case WEIR_AT_NON_TARGET:
            good = _mm_andnot_si128(weir_equal(v, '#'), weir_in_range(v, 0x21, 0x7e - 0x21));
            return (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
        case WEIR_AT_QUESTION: return (unsigned)_mm_movemask_epi8(weir_equal(v, '?'));
        case WEIR_AT_ODD_PATH:
            return (unsigned)_mm_movemask_epi8(_mm_or_si128(
                weir_equal(v, '%'), _mm_or_si128(weir_equal(v, '.'), weir_equal(v, '\\'))));
    }
    return 0xffffu;
}
#endif

/// The kernel of every scan; `stop` is a constant wherever it is used.
static inline __attribute__((always_inline)) size_t weir_scan(
    const uint8_t *_Nonnull bytes, size_t at, size_t end, enum weir_stop stop) {
#if defined(__SSE2__)
    if (__builtin_expect(end >= 16, 1)) {
        size_t last = end - 16;
        for (; at <= last; at += 16) {
            unsigned mask = weir_stop_mask(bytes + at, stop);
            if (mask) return at + (size_t)__builtin_ctz(mask);
        }
        // The rest is the upper part of the last sixteen bytes; those below `at` are known.
        unsigned mask = weir_stop_mask(bytes + last, stop) >> (at - last);
        return at < end && mask ? at + (size_t)__builtin_ctz(mask) : end;
    }
#endif
    while (at < end && !weir_stops_at(bytes[at], stop)) at++;
    return at;
}

/// The first byte that a field value may not hold: a control other than HTAB.
static inline size_t weir_scan_value(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    for (;; at++) {
        at = weir_scan(bytes, at, end, WEIR_AT_CONTROL);
        if (at == end || bytes[at] != '\t') return at;
    }
}

/// The first byte that is not of `kind`, which has all that does not `stop` a scan among others.
/// The others go one by one, and set `odd`.
static inline __attribute__((always_inline)) size_t weir_scan_kind(
    const uint8_t *_Nonnull bytes, size_t at, size_t end, enum weir_stop stop, long kind,
    bool *_Nonnull odd) {
    for (;; at++) {
        at = weir_scan(bytes, at, end, stop);
        if (at == end || !weir_byte_is(bytes[at], kind)) return at;
        *odd = true;
    }
}

/// The first byte that is no tchar.
static inline size_t weir_scan_token(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    bool odd = false;
    return weir_scan_kind(bytes, at, end, WEIR_AT_NON_NAME, WEIR_TOKEN, &odd);
}

/// The first byte that no registered host name or IPv4 address may hold.
static inline size_t weir_scan_host(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    bool odd = false;
    return weir_scan_kind(bytes, at, end, WEIR_AT_NON_WORD, WEIR_HOST, &odd);
}

/// The first byte that a request target may not hold.
static inline size_t weir_scan_target(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    return weir_scan(bytes, at, end, WEIR_AT_NON_TARGET);
}

/// The first question mark.
static inline size_t weir_find_query(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    return weir_scan(bytes, at, end, WEIR_AT_QUESTION);
}

/// Whether a path has bytes that may make it mean something else than it says.
static inline bool weir_is_odd_path(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    return weir_scan(bytes, at, end, WEIR_AT_ODD_PATH) < end;
}

/// Where the parts of a field line lie; the name begins where the line does.
struct weir_field_line {
    uint16_t name_length;  // 0: this is no complete and correct line
    bool may_have_underscore;
    uint32_t value_start, value_end, next;
};

enum { WEIR_LONGEST_NAME = 1024 };

static inline bool weir_is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

/// Reads a field line that is complete and correct: name ":" OWS value OWS CRLF. Anything else,
/// the empty line that ends a section included, has no name, and the caller finds out why.
static inline struct weir_field_line weir_read_field_line(
    const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    struct weir_field_line line = {0, false, 0, 0, 0};
    size_t stop = weir_scan_kind(
        bytes, at, end, WEIR_AT_NON_NAME, WEIR_TOKEN, &line.may_have_underscore);
    size_t length = stop - at;
    if (length == 0 || length > WEIR_LONGEST_NAME || end - stop < 3 || bytes[stop++] != ':') {
        return line;
    }
    while (stop < end && weir_is_blank(bytes[stop])) stop++;
    line.value_start = (uint32_t)stop;
    stop = weir_scan_value(bytes, stop, end);
    if (end - stop < 2 || bytes[stop] != '\r' || bytes[stop + 1] != '\n') return line;
    line.next = (uint32_t)stop + 2;
    while (stop > line.value_start && weir_is_blank(bytes[stop - 1])) stop--;
    line.value_end = (uint32_t)stop;
    line.name_length = (uint16_t)length;
    return line;
}

/// Whether the bytes from `seen` on can change the verdict on an unfinished head: they end its
/// first line, end the head, or hold a control that no head may hold.
static inline bool weir_head_has_news(const uint8_t *_Nonnull bytes, size_t seen, size_t end) {
    // One byte back: a CR may have been the last one seen.
    size_t at = seen ? seen - 1 : 0;
    for (;; at++) {
        at = weir_scan_value(bytes, at, end);
        if (at == end) return false;
        if (bytes[at] == '\r') {
            if (++at == end) return false;
            if (bytes[at] != '\n') return true;
        }
        if (bytes[at] != '\n' || at == 0 || bytes[at - 1] != '\r') return true;
        if (at >= 2 && bytes[at - 2] == '\n') return true;
        if (!memchr(bytes, '\n', at)) return true;
    }
}

#endif
