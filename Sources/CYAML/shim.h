// libyaml, for the configuration file.
#include <yaml.h>
