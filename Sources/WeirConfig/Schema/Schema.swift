// All sections in the order of the reference; what is not listed here does not exist.

enum Schema {
    static let sections: [Section] = [
        RootSection.section, AdminSection.section, RuntimeSection.section,
        AccessLogSection.section, ListenerSection.section, LimitsSection.section,
        RouteSection.section, MatchSection.section, ValueMatchSection.header,
        ValueMatchSection.query, RedirectSection.section, DirectResponseSection.section,
        HeaderEditsSection.request, HeaderEditsSection.response, ClusterSection.section,
        EndpointSection.section, DiscoverySection.section, BalancingSection.section,
        KeepaliveSection.section, HostHeaderSection.section,
    ]
}
