// Names that HPACK writes as a number.
#ifndef CWEIR_HPACK_H
#define CWEIR_HPACK_H

#include <stddef.h>
#include <stdint.h>

/// The number of a field's name in HPACK's static table (RFC 7541 appendix A), letter case aside;
/// 0 where it has none. Where several entries have the name, it is the first.
///
/// The name must be tchars.
uint8_t weir_hpack_name(const void *_Nonnull name, size_t length);

#endif
