// Byte scanners for the HTTP/1 codec.
#ifndef CWEIR_SCAN_H
#define CWEIR_SCAN_H

#include <stddef.h>
#include <stdint.h>

#endif
