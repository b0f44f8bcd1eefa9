enum WeirServerPlaceholder {}
