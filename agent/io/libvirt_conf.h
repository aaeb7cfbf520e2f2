/* libvirt_conf.h - what libvirt's own files of this host say: libvirtd.conf, qemu.conf. */
#ifndef SKEIN_AGENT_IO_LIBVIRT_CONF_H
#define SKEIN_AGENT_IO_LIBVIRT_CONF_H

#include <stdbool.h>
#include <stddef.h>

#define LIBVIRT_CONF_DIRECTORY "/etc/libvirt"
#define LIBVIRT_PKI_DIRECTORY "/etc/pki"

/* The value of key in directory's file, without quotes; of a list, its text. False: not set. */
bool libvirt_setting(const char *directory, const char *file, const char *key, char *ret,
                     size_t size);

/* Where QEMU's certificates for migrations are: as qemu.conf says, else libvirt's defaults below
 * pki. */
void libvirt_migration_pki(const char *directory, const char *pki, char *ret, size_t size);

#endif
