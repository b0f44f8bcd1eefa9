enum WeirProxyPlaceholder {}
