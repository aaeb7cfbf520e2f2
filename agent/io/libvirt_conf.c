#include "agent/io/libvirt_conf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/util.h"

bool libvirt_setting(const char *directory, const char *file, const char *key, char *ret,
                     size_t size)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, file);
    char line[2048];
    size_t n = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *at = line + strspn(line, " \t");
        if (strncmp(at, key, n) != 0)
            continue;
        at += n + strspn(at + n, " \t");
        if (*at != '=')
            continue;
        at += 1 + strspn(at + 1, " \t");
        bool quoted = *at == '"';
        at += quoted;
        snprintf(ret, size, "%.*s", (int)strcspn(at, quoted ? "\"\n" : "\n"), at);
        found = true;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

void libvirt_migration_pki(const char *directory, const char *pki, char *ret, size_t size)
{
    _cleanup_(freep) char *migrate = xasprintf("%s/libvirt-migrate", pki);
    if (libvirt_setting(directory, "qemu.conf", "migrate_tls_x509_cert_dir", ret, size) ||
        libvirt_setting(directory, "qemu.conf", "default_tls_x509_cert_dir", ret, size))
        return;
    if (access(migrate, F_OK) == 0)
        snprintf(ret, size, "%s", migrate);
    else
        snprintf(ret, size, "%s/qemu", pki);
}
