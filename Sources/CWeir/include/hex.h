// Hexadecimal digits, sixteen at a time where SSE2 exists.
#ifndef CWEIR_HEX_H
#define CWEIR_HEX_H

#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/// Writes the 16 digits of a number, in lower case, the most significant first.
static inline void weir_write_hex(uint64_t number, void *_Nonnull digits) {
#if defined(__SSE2__)
    number = __builtin_bswap64(number);
    __m128i low = _mm_loadl_epi64((const __m128i *)&number);
    __m128i high = _mm_and_si128(_mm_srli_epi64(low, 4), _mm_set1_epi8(0x0f));
    __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(low, _mm_set1_epi8(0x0f)));
    __m128i letters = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));
    letters = _mm_and_si128(letters, _mm_set1_epi8('a' - '0' - 10));
    nibbles = _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8('0')), letters);
    _mm_storeu_si128((__m128i *)digits, nibbles);
#else
    for (int at = 0; at < 16; at++) {
        ((char *)digits)[at] = "0123456789abcdef"[number >> (60 - 4 * at) & 15];
    }
#endif
}

#endif
