// PCRE2 for bytes: the width of a code unit must be chosen before its header.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
