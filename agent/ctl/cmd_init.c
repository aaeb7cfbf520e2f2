/* skein init: make a cluster's roots, its first admin and its roster. */
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_cert.h"
#include "tls/authority.h"

static const char help[] =
    "usage: skein init --cluster NAME --directory DIR [--admin NAME] [--passphrase-file FILE]\n"
    "\n"
    "Make a new cluster's identity in DIR: the root of the machines and the root of the people,\n"
    "an empty revocation list, the first admin's certificate and key (DIR/people), and a roster\n"
    "that names that admin. Nothing that exists is overwritten. Keep DIR off the hosts: its keys\n"
    "make members and admins.\n"
    "\n"
    "  --cluster NAME          lower-case letters, digits, '.', '_', '-'\n"
    "  --directory DIR         made when missing\n"
    "  --admin NAME            the first admin's name (default: admin)\n"
    "  --passphrase-file FILE  its first line guards the admin's key (default: not encrypted)\n"
    "\n"
    "Examples:\n"
    "  skein init --cluster dc1 --directory /root/dc1-authority\n"
    "  skein init --cluster dc1 --directory /media/usb/dc1 --admin alice --passphrase-file pw\n";

struct options {
    const char *cluster, *directory, *admin, *passphrase_file;
};

/* 0, or 1 when help was printed, or -1 on wrong usage. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {{"cluster", required_argument, NULL, 'c'},
                                          {"directory", required_argument, NULL, 'd'},
                                          {"admin", required_argument, NULL, 'a'},
                                          {"passphrase-file", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", known, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o->cluster = optarg;
            break;
        case 'd':
            o->directory = optarg;
            break;
        case 'a':
            o->admin = optarg;
            break;
        case 'p':
            o->passphrase_file = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return 1;
        default:
            return args_wrong_option("init", argv, c);
        }
    }
    if (optind < argc)
        return args_usage("init", "\"%s\" is not expected", argv[optind]);
    if (o->cluster == NULL || o->directory == NULL)
        return args_usage("init", "--%s is missing", o->cluster == NULL ? "cluster" : "directory");
    return 0;
}

static int run(const struct options *o, struct err *err)
{
    _cleanup_(args_wipep) char *passphrase = NULL;
    struct cluster cluster = {0};
    int rc;
    if (o->passphrase_file != NULL &&
        (rc = args_passphrase(o->passphrase_file, &passphrase, err)) < 0)
        return rc;
    if ((rc = cluster_new(o->cluster, &cluster, err)) < 0 ||
        (rc = authority_create(o->directory, &cluster, o->admin, passphrase, args_now(), err)) < 0)
        return rc;
    printf("cluster %s (%s) made in %s; its admin is %s\n", cluster.name, cluster.uuid,
           o->directory, o->admin);
    return 0;
}

int cmd_init(int argc, char **argv)
{
    struct options options = {.admin = "admin"};
    struct err err = {0};
    int rc = parse(argc, argv, &options);
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return run(&options, &err) < 0 ? args_failed(&err) : 0;
}
