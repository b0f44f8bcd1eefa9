// nghttp2, for HTTP/2.
#include <nghttp2/nghttp2.h>
