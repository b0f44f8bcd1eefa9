// Imported first, so that `sockaddr_in` and its kin, which ares.h includes, stay Glibc's: Swift sees
// a type as the property of one module.
#pragma clang module import SwiftGlibc
#include <ares.h>
