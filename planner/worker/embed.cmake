# IN -> OUT: a C array NAME and its length NAME_len.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
file(WRITE ${OUT} "static const unsigned char ${NAME}[] = {\n${hex}\n};\nstatic const unsigned long ${NAME}_len = sizeof ${NAME};\n")
