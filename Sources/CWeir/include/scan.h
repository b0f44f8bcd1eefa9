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

/// The first byte that a field value may not hold: a control other than HTAB.
static inline size_t weir_scan_value(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
#if defined(__SSE2__)
    const __m128i top = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f);
    while (end - at >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, top), v);
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(v, del)));
        if (__builtin_expect(!mask, 1)) {
            at += 16;
            continue;
        }
        at += (size_t)__builtin_ctz(mask);
        if (bytes[at] != '\t') return at;
        at++;
    }
#endif
    while (at < end && !weir_byte_is(bytes[at], WEIR_CONTROL)) at++;
    return at;
}

/// The first byte that is not of a kind which has letters, digits, "-" and "." among others:
/// those go 16 at a time, the others singly, and set `odd`.
static inline size_t weir_scan_word(const uint8_t *_Nonnull bytes, size_t at, size_t end,
                                    long kind, bool *_Nonnull odd) {
#if defined(__SSE2__)
    const __m128i fold = _mm_set1_epi8(0x20), a = _mm_set1_epi8('a'), z = _mm_set1_epi8(25);
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    const __m128i dash = _mm_set1_epi8('-'), one = _mm_set1_epi8(1);
    while (end - at >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
        __m128i letter = _mm_sub_epi8(_mm_or_si128(v, fold), a);
        __m128i digit = _mm_sub_epi8(v, zero);
        __m128i mark = _mm_sub_epi8(v, dash);  // "-" and ".", neighbours
        __m128i good = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(letter, z), letter),
                                    _mm_cmpeq_epi8(_mm_min_epu8(digit, nine), digit));
        good = _mm_or_si128(good, _mm_cmpeq_epi8(_mm_min_epu8(mark, one), mark));
        unsigned mask = (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
        if (!mask) {
            at += 16;
            continue;
        }
        at += (size_t)__builtin_ctz(mask);
        if (!weir_byte_is(bytes[at], kind)) return at;
        *odd = true;
        at++;
    }
#endif
    for (; at < end && weir_byte_is(bytes[at], kind); at++) *odd |= bytes[at] == '_';
    return at;
}

/// The first byte that is no tchar.
static inline size_t weir_scan_token(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    bool odd = false;
    return weir_scan_word(bytes, at, end, WEIR_TOKEN, &odd);
}

/// The first byte that no registered host name or IPv4 address may hold.
static inline size_t weir_scan_host(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
    bool odd = false;
    return weir_scan_word(bytes, at, end, WEIR_HOST, &odd);
}

/// Where the parts of a field line lie; the name begins where the line does.
struct weir_field_line {
    size_t name_end, value_start, value_end, next;
    bool may_have_underscore;
};

static inline bool weir_is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

/// Reads a field line that is complete and correct: name ":" OWS value OWS CRLF. Anything else,
/// the empty line that ends a section included, is `false`, and the caller finds out why.
static inline bool weir_read_field_line(const uint8_t *_Nonnull bytes, size_t at, size_t end,
                                        size_t longest_name,
                                        struct weir_field_line *_Nonnull line) {
    line->may_have_underscore = false;
    size_t stop = weir_scan_word(bytes, at, end, WEIR_TOKEN, &line->may_have_underscore);
    if (stop == at || stop - at > longest_name || stop == end || bytes[stop] != ':') return false;
    line->name_end = stop++;
    while (stop < end && weir_is_blank(bytes[stop])) stop++;
    line->value_start = stop;
    stop = weir_scan_value(bytes, stop, end);
    if (end - stop < 2 || bytes[stop] != '\r' || bytes[stop + 1] != '\n') return false;
    line->next = stop + 2;
    while (stop > line->value_start && weir_is_blank(bytes[stop - 1])) stop--;
    line->value_end = stop;
    return true;
}

/// The first byte that a request target may not hold.
static inline size_t weir_scan_target(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
#if defined(__SSE2__)
    const __m128i space = _mm_set1_epi8(0x20), del = _mm_set1_epi8(0x7f);
    const __m128i hash = _mm_set1_epi8('#');
    for (; end - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
        // Signed, so that bytes from 0x80 on are below the space.
        __m128i above = _mm_cmpgt_epi8(v, space);
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(v, del), _mm_cmpeq_epi8(v, hash));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_andnot_si128(bad, above)) ^ 0xffffu;
        if (mask) return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < end && (weir_byte_class(bytes[at]) & WEIR_TARGET)) at++;
    return at;
}

/// The first byte equal to `wanted`.
static inline size_t weir_find_byte(const uint8_t *_Nonnull bytes, size_t at, size_t end,
                                    uint8_t wanted) {
#if defined(__SSE2__)
    const __m128i want = _mm_set1_epi8((char)wanted);
    for (; end - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, want));
        if (mask) return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < end && bytes[at] != wanted) at++;
    return at;
}

/// The first byte of a path that calls for a closer look: "%", "." or a backslash.
static inline size_t weir_scan_plain_path(const uint8_t *_Nonnull bytes, size_t at, size_t end) {
#if defined(__SSE2__)
    const __m128i percent = _mm_set1_epi8('%'), dot = _mm_set1_epi8('.');
    const __m128i back = _mm_set1_epi8('\\');
    for (; end - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
        __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(v, percent), _mm_cmpeq_epi8(v, dot));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, back));
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask) return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < end && bytes[at] != '%' && bytes[at] != '.' && bytes[at] != '\\') at++;
    return at;
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
