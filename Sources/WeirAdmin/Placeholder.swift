enum WeirAdminPlaceholder {}
