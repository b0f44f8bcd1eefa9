// The command: reads the arguments and calls the verb.

import Glibc
import WeirServer

exit(Command.run(Array(CommandLine.arguments.dropFirst())))
