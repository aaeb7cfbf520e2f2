/* cmd_cert.h - the commands that work on the authority's directory, with no agent. argv[0] is the
 * command's own name. They return the exit status: 0 done, 1 refused or failed, 2 wrong usage. */
#ifndef SKEIN_AGENT_CTL_CMD_CERT_H
#define SKEIN_AGENT_CTL_CMD_CERT_H

int cmd_init(int argc, char **argv);
int cmd_cert(int argc, char **argv);
int cmd_roster(int argc, char **argv);
int cmd_join(int argc, char **argv); /* asks an issuer, and no agent of this host's */

#endif
