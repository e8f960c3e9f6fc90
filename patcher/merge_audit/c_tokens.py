"""The words of a file of the C family: what they are made of, before anybody asks what they say."""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"(?P<skip>[ \t\r\f\v]+|//[^\n\\]*(?:\\(?:\r?\n|.)?[^\n\\]*)*|/\*.*?(?:\*/|\Z)|\\\r?\n)"
    r"|(?P<nl>\n\s*)"
    r'|(?P<raw>(?:u8|[uUL])?R"(?P<delim>[^()\\\s]{0,16})\(.*?(?:\)(?P=delim)"|\Z))'
    r'|(?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n]){1,64}\')'
    r"|(?P<word>[A-Za-z_$][\w$]*|\.?\d(?:[eEpP][+-]|[\w.']*[\w.])*)"
    r"|(?P<mark>::|->|<<=|>>=|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|\.\.\.|##|[^\w\s])",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"#[ \t]*(?P<verb>[a-z_]*)(?P<rest>(?:\\\r?\n|/\*.*?(?:\*/|\Z)|[^\n])*)", re.DOTALL)
COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\\\r?\n", re.DOTALL)
