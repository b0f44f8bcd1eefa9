// Field lines: known names, and the lines that everybody sends, many in one call.
#ifndef CWEIR_FIELDS_H
#define CWEIR_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The cases of `KnownField`, in its order.
enum weir_known_field {
    WEIR_OTHER,
    WEIR_HOST_FIELD, WEIR_CONNECTION, WEIR_KEEP_ALIVE, WEIR_PROXY_CONNECTION, WEIR_TE,
    WEIR_TRAILER, WEIR_TRANSFER_ENCODING, WEIR_UPGRADE,
    WEIR_CONTENT_LENGTH, WEIR_CONTENT_TYPE, WEIR_EXPECT, WEIR_DATE, WEIR_SERVER, WEIR_VIA,
    WEIR_FORWARDED, WEIR_X_FORWARDED_FOR, WEIR_X_FORWARDED_PROTO, WEIR_X_FORWARDED_HOST,
    WEIR_X_REQUEST_ID,
    WEIR_USER_AGENT, WEIR_AUTHORIZATION, WEIR_PROXY_AUTHENTICATE, WEIR_PROXY_AUTHORIZATION,
    WEIR_COOKIE, WEIR_SET_COOKIE,
    WEIR_LOCATION, WEIR_ACCEPT, WEIR_CACHE_CONTROL, WEIR_RETRY_AFTER,
    WEIR_X_REQUEST_DEADLINE, WEIR_X_WEIR_ATTEMPT, WEIR_X_FORWARDED_CLIENT_CERT,

    /// Concerns one connection only (RFC 9110 section 7.6.1), whatever `Connection` says.
    WEIR_HOP_BY_HOP = 1 << 8,
    /// Says something about the message's framing, its connection or where it goes.
    WEIR_NOTED = 1 << 16,
};

/// Tells which known field a name is, letter case aside, and adds what is to be known about it.
///
/// The name must be tchars. Folding case by `| 0x20` is exact only for those: no tchar but `-`
/// becomes `-`, none but a letter becomes a letter.
uint32_t weir_know_field(const void *_Nonnull name, size_t length);

/// The memory of a `Field`.
struct weir_field {
    uint32_t name_start;
    uint16_t name_length, known;  // `known` and, in its second byte, whether it is hop-by-hop
    uint32_t value_start, value_length;
};

/// What `weir_read_plain_fields` has read.
struct weir_field_run {
    size_t count;
    /// Where the first line begins that was not read.
    size_t next;
    /// Which of the fields are WEIR_NOTED, the first in the lowest bit.
    uint64_t noted;
};

/// Reads field lines up to the first that is not plain, which may be empty, odd, wrong or cut off.
/// Plain is a name of at most 15 letters and hyphens, one space, and a value of visible ASCII.
///
/// @param fields has room for `room` times `struct weir_field`.
struct weir_field_run weir_read_plain_fields(
    const uint8_t *_Nonnull bytes, size_t at, size_t end, void *_Nonnull fields, size_t room);

#endif
