/* hypervisor_libvirt_stop.c - a VM stops where it is: asked to shut down, or saved to disk. */
#include "agent/io/hypervisor_libvirt.h"

/* The domain, if it runs and would be left behind as a definition. */
static int running_domain(virConnectPtr conn, const char *uuid, virDomainPtr *ret, struct err *err)
{
    struct hv_seen seen;
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_domain(conn, uuid, &dom, err) < 0 || libvirt_seen(dom, &seen, err) < 0)
        return -(int)err->code;
    if (seen.job || seen.state != SKEIN__VM_STATE__VM_RUNNING || !seen.persistent)
        return err_set(err, ERR_CONFLICT, "VM %s is not stopped: %s", uuid,
                       seen.job           ? "a job runs on it"
                       : !seen.persistent ? "it has no definition"
                                          : "it does not run");
    *ret = TAKE_PTR(dom);
    return 0;
}

int libvirt_shutdown(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        running_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    return virDomainShutdown(dom) < 0 ? libvirt_error(err, "asking VM %s to shut down", uuid) : 0;
}

int libvirt_suspend(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        running_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    return virDomainManagedSave(dom, VIR_DOMAIN_SAVE_RUNNING) < 0
               ? libvirt_error(err, "saving VM %s", uuid)
               : 0;
}
