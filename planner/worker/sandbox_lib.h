/* sandbox_lib.h - the functions that a policy's Lua may call, see sandbox.h. */
#ifndef SKEIN_PLANNER_WORKER_SANDBOX_LIB_H
#define SKEIN_PLANNER_WORKER_SANDBOX_LIB_H

#include <lua.h>

/* Opens the allow-listed libraries and pushes two tables: the globals as a policy sees them (a
 * reader of an undefined one gets an error, a built-in one cannot be replaced), and the table
 * behind, to which C adds what it offers. Raises. */
void l_open_libraries(lua_State *L, lua_Integer seed);

#endif
