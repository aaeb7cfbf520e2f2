#include "agent/io/errand.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "proto/util.h"

/* Nothing of the loop's side is reached from the thread but async, under the lock, while somebody
 * listens. */
struct errand {
    pthread_mutex_t lock;
    struct errand_conf conf;
    bool wanted, done;
    unsigned refs; /* the thread's and the loop's */
    void *work;
};

static void errand_unref(struct errand *e)
{
    pthread_mutex_lock(&e->lock);
    bool last = --e->refs == 0;
    pthread_mutex_unlock(&e->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&e->lock);
    e->conf.drop(e->work);
    free(e);
}

static void *thread_main(void *arg)
{
    struct errand *e = arg;
    e->conf.run(e->work);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    if (e->wanted)
        uv_async_send(e->conf.async);
    pthread_mutex_unlock(&e->lock);
    errand_unref(e);
    return NULL;
}

int errand_start(const struct errand_conf *conf, void *work, struct errand **ret, struct err *err)
{
    struct errand *e = xcalloc(1, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    e->conf = *conf;
    e->work = work;
    e->wanted = true;
    e->refs = 2;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, thread_main, e);
    pthread_attr_destroy(&attr);
    if (rc == 0) {
        *ret = e;
        return 0;
    }
    e->refs = 1;
    errand_unref(e);
    return err_set(err, ERR_CAPACITY, "no thread: %s", strerror(rc));
}

void *errand_result(struct errand *e)
{
    pthread_mutex_lock(&e->lock);
    bool done = e->done;
    pthread_mutex_unlock(&e->lock);
    return done ? e->work : NULL;
}

void errand_end(struct errand *e)
{
    if (e == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    e->wanted = false;
    pthread_mutex_unlock(&e->lock);
    errand_unref(e);
}
