// All sections in the order of the reference; what is not listed here does not exist.

enum Schema {
    static let sections: [Section] = [
        RootSection.section, AdminSection.section, RuntimeSection.section,
        AccessLogSection.section, ListenerSection.section, ServerTLSSection.section,
        CertificateSection.section, LimitsSection.section,
        TenantsSection.section, TenantIdentitySection.section, ClientPrefixSection.section,
        JWTClaimSection.section, JWTVerifySection.section, TenantPlanSection.section,
        AssignmentsSection.section, PrioritiesSection.section, PriorityClassSection.section,
        RetryPolicySection.section, BackoffSection.section, RetryBudgetSection.section,
        RateRuleSection.section, RateKeySection.section,
        RouteSection.section, MatchSection.section, ValueMatchSection.header,
        ValueMatchSection.query, RedirectSection.section, DirectResponseSection.section,
        HeaderEditsSection.request, HeaderEditsSection.response, HedgeSection.section,
        BreakerSection.section, FallbackSection.section, ClusterSection.section,
        EndpointSection.section, DiscoverySection.section, BalancingSection.section,
        HashOnSection.section, KeepaliveSection.section, ClientTLSSection.section,
        ClientCertificateSection.section, HostHeaderSection.section,
        CeilingsSection.section, ConcurrencySection.section, QueueSection.section,
        OutlierSection.section, FailureRateSection.section, OutlierLatencySection.section,
        HealthCheckSection.section,
    ]
}
