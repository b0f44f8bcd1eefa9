// HPACK's static table of names, with one look into a table of our own.

#include "hpack.h"

#include <stdbool.h>
#include <string.h>

struct static_name {
    char text[28];
    uint8_t length, number;
};

enum { SLOTS = 128, SHORTEST = 3, LONGEST = 27 };

// A collision is an error of the compiler.
#define SLOT(length, first, middle, last) \
    ((7u * (length) + 23u * (first) + 2u * (middle) + 9u * (last)) % SLOTS)
#define NAME(text, first, middle, last, number) \
    [SLOT(sizeof(text) - 1, first, middle, last)] = {text, sizeof(text) - 1, number}

static const struct static_name names[SLOTS] = {
    NAME("accept-charset", 'a', 'c', 't', 15),
    NAME("accept-encoding", 'a', 'e', 'g', 16),
    NAME("accept-language", 'a', 'l', 'e', 17),
    NAME("accept-ranges", 'a', '-', 's', 18),
    NAME("accept", 'a', 'e', 't', 19),
    NAME("access-control-allow-origin", 'a', 'l', 'n', 20),
    NAME("age", 'a', 'g', 'e', 21),
    NAME("allow", 'a', 'l', 'w', 22),
    NAME("authorization", 'a', 'i', 'n', 23),
    NAME("cache-control", 'c', 'c', 'l', 24),
    NAME("content-disposition", 'c', 'i', 'n', 25),
    NAME("content-encoding", 'c', 'e', 'g', 26),
    NAME("content-language", 'c', 'l', 'e', 27),
    NAME("content-length", 'c', '-', 'h', 28),
    NAME("content-location", 'c', 'l', 'n', 29),
    NAME("content-range", 'c', 't', 'e', 30),
    NAME("content-type", 'c', 't', 'e', 31),
    NAME("cookie", 'c', 'k', 'e', 32),
    NAME("date", 'd', 't', 'e', 33),
    NAME("etag", 'e', 'a', 'g', 34),
    NAME("expect", 'e', 'e', 't', 35),
    NAME("expires", 'e', 'i', 's', 36),
    NAME("from", 'f', 'o', 'm', 37),
    NAME("host", 'h', 's', 't', 38),
    NAME("if-match", 'i', 'a', 'h', 39),
    NAME("if-modified-since", 'i', 'i', 'e', 40),
    NAME("if-none-match", 'i', 'e', 'h', 41),
    NAME("if-range", 'i', 'a', 'e', 42),
    NAME("if-unmodified-since", 'i', 'f', 'e', 43),
    NAME("last-modified", 'l', 'o', 'd', 44),
    NAME("link", 'l', 'n', 'k', 45),
    NAME("location", 'l', 't', 'n', 46),
    NAME("max-forwards", 'm', 'r', 's', 47),
    NAME("proxy-authenticate", 'p', 'h', 'e', 48),
    NAME("proxy-authorization", 'p', 'h', 'n', 49),
    NAME("range", 'r', 'n', 'e', 50),
    NAME("referer", 'r', 'e', 'r', 51),
    NAME("refresh", 'r', 'r', 'h', 52),
    NAME("retry-after", 'r', '-', 'r', 53),
    NAME("server", 's', 'v', 'r', 54),
    NAME("set-cookie", 's', 'o', 'e', 55),
    NAME("strict-transport-security", 's', 'p', 'y', 56),
    NAME("transfer-encoding", 't', '-', 'g', 57),
    NAME("user-agent", 'u', 'a', 't', 58),
    NAME("vary", 'v', 'r', 'y', 59),
    NAME("via", 'v', 'i', 'a', 60),
    NAME("www-authenticate", 'w', 'e', 'e', 61),
};

static uint64_t long_at(const void *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word | 0x2020202020202020u;
}

static uint32_t short_at(const void *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word | 0x20202020u;
}

// In words that overlap, all of which lie within the name.
static bool is_same(const uint8_t *name, const char *text, size_t length) {
    if (length < 4) {
        return (name[0] | 0x20) == text[0] && (name[1] | 0x20) == text[1]
            && (name[2] | 0x20) == text[2];
    }
    if (length < 8) {
        return short_at(name) == short_at(text)
            && short_at(name + length - 4) == short_at(text + length - 4);
    }
    for (size_t at = 0; at + 8 < length; at += 8) {
        if (long_at(name + at) != long_at(text + at)) return false;
    }
    return long_at(name + length - 8) == long_at(text + length - 8);
}

uint8_t weir_hpack_name(const void *name, size_t length) {
    if (length < SHORTEST || length > LONGEST) return 0;
    const uint8_t *bytes = name;
    const struct static_name *found = &names[SLOT(
        length, bytes[0] | 0x20u, bytes[length / 2] | 0x20u, bytes[length - 1] | 0x20u)];
    return found->length == length && is_same(bytes, found->text, length) ? found->number : 0;
}
