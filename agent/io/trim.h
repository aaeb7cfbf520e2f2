/* trim.h - giving back the memory that only the start needed. */
#ifndef SKEIN_AGENT_IO_TRIM_H
#define SKEIN_AGENT_IO_TRIM_H

/* Starting touches much code of the shared libraries (relocation, initialisation, protocol tables)
 * that is never run again, and the heap has holes. Unmaps clean program text from this process (it
 * comes back from the page cache when it is run) and trims the heap. Cheap: some milliseconds. */
void trim_memory(void);

#endif
