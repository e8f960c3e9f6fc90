"""Link lines on which linkers differ: small libraries and objects, and how they are put together.

In ``defines`` a name may end in ``!hidden``, ``!protected``, ``!weak``, ``!data``, ``!tls``, ``!ifunc`` or
``!common``; in ``uses`` in ``?`` (weak), ``!data``, ``!tls`` or ``!hidden``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.linking import Workshop


@dataclass(frozen=True)
class Part:
    """A shared library, an object or (``archive``) an archive of one object."""

    name: str
    defines: str = ""
    uses: str = ""
    needed: tuple[str, ...] = ()  # other parts
    kind: str = "lib"
    script: str = ""  # a version script
    flags: tuple[str, ...] = ()
    folder: str = ""
    soname: str | None = ""

    @property
    def file(self) -> str:
        """Its path in the workshop."""
        name = {"lib": f"lib{self.name}.so", "obj": f"{self.name}.o", "archive": f"lib{self.name}.a"}[
            self.kind
        ]
        return f"{self.folder}/{name}" if self.folder else name

    def text(self) -> str:
        """Its C."""
        lines = []
        for number, use in enumerate(self.uses.split()):
            name, _, kind = use.rstrip("?").partition("!")
            weak = " __attribute__((weak))" if use.endswith("?") else ""
            if kind in ("data", "tls"):
                lines.append(f"extern {'__thread ' if kind == 'tls' else ''}int {name}{weak};")
            else:
                hidden = ' __attribute__((visibility("hidden")))' if kind == "hidden" else ""
                lines.append(f"extern int {name}(void){weak}{hidden};")
            call = name if kind in ("data", "tls") else f"{name}()"
            guard = f"(&{name} != 0) && " if weak else ""
            lines.append(f"int {self.name}_uses_{number}(void) {{ return {guard}{call}; }}")
        for define in self.defines.split():
            name, _, kind = define.partition("!")
            lines.append(
                {
                    "": f"int {name}(void) {{ return 0; }}",
                    "hidden": f'__attribute__((visibility("hidden"))) int {name}(void) {{ return 0; }}',
                    "protected": f'__attribute__((visibility("protected"))) int {name}(void) {{ return 0; }}',
                    "weak": f"__attribute__((weak)) int {name}(void) {{ return 0; }}",
                    "data": f"int {name} = 1;",
                    "tls": f"__thread int {name} = 1;",
                    "common": f"int {name};",
                    "ifunc": f"static int {name}_(void) {{ return 0; }} static void *{name}_r(void)"
                    f' {{ return {name}_; }} int {name}(void) __attribute__((ifunc("{name}_r")));',
                }[kind]
            )
        return "\n".join(lines) + "\n"


def lib(name: str, defines: str = "", uses: str = "", *needed: str, **more: object) -> Part:
    return Part(name, defines, uses, needed, **more)  # type: ignore[arg-type]


def obj(name: str, defines: str = "", uses: str = "", **more: object) -> Part:
    return Part(name, defines, uses, (), "obj", **more)  # type: ignore[arg-type]


def archive(name: str, defines: str = "", uses: str = "") -> Part:
    return Part(name, defines, uses, (), "archive")


@dataclass(frozen=True)
class Case:
    """``parts`` are built in order; ``remove`` afterwards; then ``link`` is what the linker gets."""

    id: str
    parts: tuple[Part, ...]
    link: str
    remove: str = ""
    rebuild: tuple[Part, ...] = ()  # built over what was linked against
    scripts: tuple[tuple[str, str], ...] = ()  # name and text of linker scripts
    breaks: str = ""  # a linker that crashes or refuses the line for another reason

    def names(self) -> set[str]:
        """Every symbol that a linker may complain about."""
        words = " ".join(f"{part.uses} {part.defines}" for part in (*self.parts, *self.rebuild)).split()
        names = {word.rstrip("?").partition("!")[0] for word in words}
        return names | {f"__wrap_{name}" for name in names} | {"__tls_get_addr"}

    def build(self, shop: Workshop) -> None:
        """Make the parts."""
        made: dict[str, Part] = {}
        for name, text in self.scripts:
            shop.source(name, text)
        for part in (*self.parts, *self.rebuild):
            made[part.name] = part
            out = shop.folder / part.file
            out.parent.mkdir(exist_ok=True)
            compiled = shop.compile(f"{part.name}_.c", part.text(), "-fcommon")
            if part.kind == "obj":
                compiled.rename(out)
            elif part.kind == "archive":
                shop.run("ar", "rcs", out, compiled)
            else:
                script = (
                    [f"-Wl,--version-script={shop.source(part.name + '.map', part.script)}"]
                    if part.script
                    else []
                )
                soname = [] if part.soname is None else [f"-Wl,-soname,{part.soname or f'lib{part.name}.so'}"]
                shop.run(
                    "gcc", "-shared", "-nostdlib", "-fuse-ld=gold", "-Wl,--no-as-needed", "-o", out, compiled, *soname, *script,
                    *part.flags, *(f"./{made[name].file}" for name in part.needed),
                )  # fmt: skip
        for name in self.remove.split():
            (shop.folder / name).unlink()


MAIN = obj("main", "_start", "use")
V1, V2 = "V1 { f; };", "V2 { f; };"
ALLOW, REFUSE = "--allow-shlib-undefined", "--no-allow-shlib-undefined"

CASES = (
    # the table
    Case("direct-function", (lib("use", "use", "f"), MAIN), "main.o libuse.so"),
    Case("direct-data", (lib("use", "use", "f!data"), MAIN), "main.o libuse.so"),
    Case("direct-tls", (lib("use", "use", "f!tls"), MAIN), "main.o libuse.so"),
    Case("indirect", (lib("deep", "deep", "f"), lib("use", "use", "deep", "deep"), MAIN), "main.o libuse.so -rpath-link ."),
    Case("indirect-on-line", (lib("deep", "deep", "f"), lib("use", "use", "deep", "deep"), MAIN), "main.o libuse.so libdeep.so"),
    Case("weak", (lib("use", "use", "f?"), MAIN), "main.o libuse.so"),
    Case("hidden-in-object", (lib("use", "use", "f"), MAIN, obj("more", "f!hidden")), "main.o more.o libuse.so"),
    Case("hidden-in-library", (lib("other", "o f!hidden"), lib("use", "use", "f", "other"), MAIN), "main.o libuse.so libother.so"),
    Case("other-version", (lib("v", "f", script=V2), lib("use", "use", "f", "v"), MAIN), "main.o libuse.so libv.so", rebuild=(lib("v", "f", script=V1),)),
    Case("unversioned-reference", (lib("v", "f"), lib("use", "use", "f", "v"), MAIN), "main.o libuse.so libv.so", rebuild=(lib("v", "f", script=V1),)),
    Case("protected", (lib("other", "f!protected"), lib("use", "use", "f", "other"), MAIN), "main.o libuse.so libother.so"),
    Case("ifunc", (lib("other", "f!ifunc"), lib("use", "use", "f", "other"), MAIN), "main.o libuse.so libother.so"),
    Case("in-the-program", (lib("use", "use", "f"), MAIN, obj("more", "f")), "main.o more.o libuse.so"),
    Case("in-a-plugin", (lib("plugin", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so"),
    Case("needed-not-found", (lib("gone", "f"), lib("use", "use", "f", "gone"), MAIN), "main.o libuse.so", remove="libgone.so"),
    Case("runpath-origin", (lib("other", "f", folder="sub"), lib("use", "use", "f", "other", flags=("-Wl,--enable-new-dtags,-rpath,$ORIGIN/sub",)), MAIN), "main.o libuse.so"),
    Case("underlinked-kept", (lib("f", "f"), lib("keep", "k", "", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so libkeep.so libf.so"),
    Case("underlinked-absent", (lib("f", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so"),
    # what is on the line and where
    Case("provider-before", (lib("f", "f"), lib("use", "use", "f"), MAIN), "main.o libf.so libuse.so"),
    Case("provider-before-as-needed", (lib("f", "f"), lib("use", "use", "f"), MAIN), "--as-needed main.o libf.so libuse.so"),
    Case("provider-after-as-needed", (lib("f", "f"), lib("use", "use", "f"), MAIN), "--as-needed main.o libuse.so libf.so"),
    Case("unneeded-library-as-needed", (lib("bad", "b", "f"), lib("use", "use"), MAIN), "main.o libuse.so --as-needed libbad.so"),
    Case("unneeded-library-kept", (lib("bad", "b", "f"), lib("use", "use"), MAIN), "main.o libuse.so libbad.so"),
    Case("unneeded-provider-as-needed-after", (lib("f", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so --as-needed libf.so --no-as-needed"),
    Case("needed-twice", (lib("use", "use", "f"), MAIN), "main.o libuse.so libuse.so"),
    # archives and objects
    Case("archive-after", (archive("f", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so libf.a"),
    Case("archive-before", (archive("f", "f"), lib("use", "use", "f"), MAIN), "main.o libf.a libuse.so"),
    Case("archive-for-object-before", (archive("f", "use"), MAIN), "libf.a main.o"),
    Case("archive-for-object-after", (archive("f", "use"), MAIN), "main.o libf.a"),
    Case("archives-that-need-each-other", (archive("a", "use c", "b"), archive("b", "b", "c"), MAIN), "main.o liba.a libb.a"),
    Case("archive-member-with-a-hole", (archive("a", "use", "f"), MAIN), "main.o liba.a"),
    Case("whole-archive", (archive("a", "f", "g"), lib("use", "use"), MAIN), "main.o libuse.so --whole-archive liba.a --no-whole-archive"),
    Case("undefined-in-object", (MAIN,), "main.o"),
    Case("weak-undefined-in-object", (obj("main", "_start", "use?"),), "main.o"),
    Case("hidden-undefined-in-object", (obj("main", "_start", "use!hidden"), lib("use", "use")), "main.o libuse.so"),
    Case("common-serves", (lib("use", "use", "f!data"), MAIN, obj("more", "f!common")), "main.o more.o libuse.so"),
    Case("weak-definition-in-object", (lib("use", "use", "f"), MAIN, obj("more", "f!weak")), "main.o more.o libuse.so"),
    Case("weak-definition-in-library", (lib("f", "f!weak"), lib("use", "use", "f"), MAIN), "main.o libuse.so libf.so"),
    # options
    Case("allowed", (lib("use", "use", "f"), MAIN), f"{ALLOW} main.o libuse.so"),
    Case("refused-outright", (lib("use", "use", "f"), MAIN), f"{REFUSE} main.o libuse.so"),
    Case("shared-output", (lib("use", "use", "f"), obj("main", "m", "use")), "-shared main.o libuse.so"),
    Case("shared-output-refused", (lib("use", "use", "f"), obj("main", "m", "use")), f"-shared {REFUSE} main.o libuse.so"),
    Case("shared-output-own-hole", (obj("main", "m", "use"),), "-shared main.o"),
    Case("shared-output-z-defs", (obj("main", "m", "use"),), "-shared -z defs main.o"),
    Case("shared-output-z-defs-library", (lib("use", "use", "f"), obj("main", "m", "use")), "-shared -z defs main.o libuse.so"),
    Case("shared-output-hidden-hole", (obj("main", "m", "use!hidden"),), "-shared main.o"),
    Case("pie-output", (lib("use", "use", "f"), MAIN), "-pie main.o libuse.so"),
    Case("unresolved-ignore-all", (lib("use", "use", "f"), obj("main", "_start", "use g")), "--unresolved-symbols=ignore-all main.o libuse.so"),
    Case("unresolved-in-libraries", (lib("use", "use", "f"), obj("main", "_start", "use g")), "--unresolved-symbols=ignore-in-shared-libs main.o libuse.so"),
    Case("unresolved-in-objects", (lib("use", "use", "f"), obj("main", "_start", "use g")), "--unresolved-symbols=ignore-in-object-files main.o libuse.so"),
    Case("warn-only", (lib("use", "use", "f"), MAIN), "--warn-unresolved-symbols main.o libuse.so"),
    Case("defsym-serves", (lib("use", "use", "f"), MAIN), "--defsym=f=_start main.o libuse.so"),
    Case("relocatable-output", (MAIN,), "-r main.o"),
    Case("local-by-script", (lib("use", "use", "f"), MAIN, obj("more", "f")), "main.o more.o libuse.so --version-script=local.map"),
    Case("dynamic-list", (lib("use", "use", "f"), MAIN, obj("more", "f")), "main.o more.o libuse.so --dynamic-list=list.map"),
    Case("exclude-libs", (archive("f", "f"), lib("use", "use", "f"), MAIN), "main.o libuse.so libf.a --exclude-libs ALL"),
    # more libraries
    Case("indirect-not-on-path", (lib("deep", "deep", "f"), lib("use", "use", "deep", "deep"), MAIN), "main.o libuse.so"),
    Case("indirect-hole-filled-by-line", (lib("f", "f"), lib("deep", "deep", "f"), lib("use", "use", "deep", "deep"), MAIN), "main.o libuse.so libf.so -rpath-link ."),
    Case("indirect-fills-direct", (lib("deep", "f"), lib("mid", "mid", "", "deep"), lib("use", "use", "f", "mid"), MAIN), "main.o libuse.so -rpath-link ."),
    Case("indirect-fills-object", (lib("deep", "g"), lib("use", "use", "", "deep"), obj("main", "_start", "use g")), "main.o libuse.so -rpath-link ."),
    Case("copy-dt-needed", (lib("deep", "g"), lib("use", "use", "", "deep"), obj("main", "_start", "use g")), "--copy-dt-needed-entries main.o libuse.so -rpath-link ."),
    Case("unknown-and-known-first", (lib("gone", "x"), lib("a", "a", "f", "gone"), lib("use", "use", "f"), MAIN), "main.o liba.so libuse.so"),
    Case("unknown-and-known-last", (lib("gone", "x"), lib("a", "a", "f", "gone"), lib("use", "use", "f"), MAIN), "main.o libuse.so liba.so"),
    Case("unknown-elsewhere", (lib("gone", "x"), lib("a", "a", "", "gone"), lib("use", "use", "f"), MAIN), "main.o libuse.so liba.so"),
    Case("weak-then-strong", (lib("a", "a", "f?"), lib("use", "use", "f"), MAIN), "main.o liba.so libuse.so"),
    Case("strong-then-weak", (lib("a", "a", "f?"), lib("use", "use", "f"), MAIN), "main.o libuse.so liba.so"),
    Case("object-and-library-lack", (lib("use", "use", "f"), obj("main", "_start", "use f")), "main.o libuse.so"),
    Case("object-weak-library-strong", (lib("use", "use", "f"), obj("main", "_start", "use f?")), "main.o libuse.so"),
    Case("soname-differs", (lib("deep", "deep", soname="libother.so.1"), lib("use", "use", "deep f", "deep"), MAIN), "main.o libuse.so libdeep.so"),
    Case("no-soname", (lib("deep", "deep", soname=None), lib("use", "use", "deep f", "deep"), MAIN), "main.o libuse.so ./libdeep.so"),
    # versions
    Case("version-gone", (lib("v", "f", script=V1), lib("use", "use", "f", "v"), MAIN), "main.o libuse.so libv.so", rebuild=(lib("v", "f"),)),
    Case("version-served-by-object", (lib("v", "f", script=V1), lib("use", "use", "f", "v"), MAIN, obj("more", "f")), "main.o more.o libuse.so libv.so", rebuild=(lib("v", "x", script="V1 { x; };"),)),
    Case("hidden-by-script", (lib("v", "f x", script="{ global: x; local: *; };"), lib("use", "use", "f"), MAIN), "main.o libuse.so libv.so"),
    Case("two-versions", (lib("v", "f g", script="V1 { f; }; V2 { g; } V1;"), lib("use", "use", "f g", "v"), MAIN), "main.o libuse.so libv.so"),
    Case("version-order", (lib("v", "f", script=V2), lib("use", "use", "f", "v"), MAIN), "main.o libv.so libuse.so", rebuild=(lib("v", "f", script=V1),)),
    Case("object-wants-unversioned", (lib("v", "use", script="V1 { use; };"), MAIN), "main.o libv.so"),
    Case("version-wanted-base-defined", (lib("v", "f", script=V1), lib("use", "use", "f", "v"), MAIN), "main.o libuse.so libv.so", rebuild=(lib("v", "f g", script="V1 { g; };"),)),
    Case("version-in-another-library", (lib("v", "f", script=V1), lib("use", "use", "f", "v"), lib("w", "f", script=V1), MAIN), "main.o libuse.so libv.so libw.so", rebuild=(lib("v", "x", script="V1 { x; };"),)),
    Case("weak-version-gone", (lib("v", "f", script=V2), lib("use", "use", "f?", "v"), MAIN), "main.o libuse.so libv.so", rebuild=(lib("v", "x", script="V1 { x; };"),)),
    Case("libraries-that-need-each-other", (lib("a", "use", "b"), lib("b", "b", "use", "a"), lib("a", "use", "b", "b"), MAIN), "main.o liba.so libb.so"),
    Case("libraries-in-a-circle-with-a-hole", (lib("a", "use", "b"), lib("b", "b", "use f", "a"), lib("a", "use", "b", "b"), MAIN), "main.o liba.so -rpath-link ."),
    # --wrap, --undefined, --defsym
    Case("wrapped", (obj("more", "__wrap_use"), MAIN), "--wrap=use main.o more.o"),
    Case("wrapped-without-a-wrapper", (lib("use", "use"), MAIN), "--wrap use main.o libuse.so"),
    Case("wrapper-calls-the-real-one", (lib("use", "use"), obj("more", "__wrap_use", "__real_use"), MAIN), "--wrap=use main.o more.o libuse.so"),
    Case("wrapper-without-a-real-one", (obj("more", "__wrap_use", "__real_use"), MAIN), "--wrap=use main.o more.o"),
    Case("wrapped-in-a-library", (lib("use", "use", "f"), obj("more", "__wrap_f"), MAIN), "--wrap=f main.o libuse.so more.o"),
    Case("wrapped-in-a-library-only", (lib("use", "use", "f"), obj("more", "f"), MAIN), "--wrap=f main.o libuse.so more.o"),
    Case("wrapper-in-an-archive", (archive("more", "__wrap_use"), MAIN), "--wrap=use main.o libmore.a"),
    Case("another-one-is-wrapped", (lib("use", "use"), MAIN), "--wrap=other main.o libuse.so"),
    Case("asked-for-and-missing", (MAIN, lib("use", "use")), "-u f main.o libuse.so"),
    Case("asked-for-and-wanted", (MAIN, lib("use", "use", "f")), "-u f main.o libuse.so"),
    Case("asked-for-and-an-object-lacks-it", (obj("main", "_start", "f"),), "--undefined=f main.o"),
    Case("asked-for-in-an-archive", (MAIN, lib("use", "use"), archive("a", "f", "g")), "-u f main.o libuse.so liba.a"),
    Case("defsym-of-nothing", (lib("use", "use"), lib("off", "f"), MAIN), "--defsym=g=f main.o libuse.so", breaks="mold"),
    Case("defsym-for-an-object", (obj("more", "f"), MAIN), "--defsym=use=f main.o more.o"),
    # linker scripts
    Case("script-defines-for-a-library", (lib("use", "use", "f"), MAIN), "main.o libuse.so defs.ld", scripts=(("defs.ld", "f = 0x1000;"),), breaks="mold"),
    Case("script-defines-for-an-object", (MAIN,), "main.o defs.ld", scripts=(("defs.ld", "use = 0x1000;"),), breaks="mold"),
    Case("script-provides", (lib("use", "use", "f"), MAIN), "main.o libuse.so defs.ld", scripts=(("defs.ld", "PROVIDE(f = 0x1000);"),), breaks="mold"),
    Case("script-provides-another", (lib("use", "use", "f"), MAIN), "main.o libuse.so defs.ld", scripts=(("defs.ld", "/* f = 1; */ g = 0x1000;"),), breaks="mold"),
    Case("script-names-a-library", (lib("use", "use", "f"), MAIN), "main.o all.ld", scripts=(("all.ld", "INPUT(libuse.so)"),)),
    Case("whole-script", (lib("use", "use", "f"), MAIN), "-T full.ld main.o libuse.so", scripts=(("full.ld", "SECTIONS { . = SIZEOF_HEADERS; .text : { *(.text*) } f = .; }"),), breaks="mold"),
    Case("whole-script-without", (lib("use", "use", "f"), MAIN), "-T full.ld main.o libuse.so", scripts=(("full.ld", "SECTIONS { . = SIZEOF_HEADERS; .text : { *(.text*) } g = .; }"),), breaks="mold"),
    # archives and groups
    Case("group-of-archives", (archive("a", "use", "b"), archive("b", "b", "c"), archive("c", "c use2", "d"), archive("d", "d"), MAIN), "main.o --start-group libd.a libc.a libb.a liba.a --end-group"),
    Case("archives-against-the-order", (archive("a", "use", "b"), archive("b", "b"), MAIN), "main.o libb.a liba.a"),
    Case("weak-does-not-pull", (archive("a", "use"), obj("main", "_start", "use?")), "main.o liba.a"),
    Case("weak-library-does-not-pull", (archive("a", "f"), lib("use", "use", "f?"), MAIN), "main.o libuse.so liba.a"),
    Case("hidden-member-for-library", (archive("a", "f!hidden"), lib("use", "use", "f"), MAIN), "main.o libuse.so liba.a"),
    Case("library-by-name", (lib("use", "use", "f"), MAIN), "-L. main.o -luse"),
    Case("archive-by-name-static", (archive("use", "use"), lib("use", "use", "f"), MAIN), "-L. main.o -Bstatic -luse -Bdynamic"),
    Case("no-such-library", (MAIN,), "-L. main.o -luse"),
    Case("push-state", (lib("use", "use"), lib("bad", "b", "f"), MAIN), "main.o libuse.so --push-state --as-needed libbad.so --pop-state"),
    Case("allow-then-refuse", (lib("use", "use", "f"), MAIN), f"{ALLOW} {REFUSE} main.o libuse.so"),
    Case("refuse-then-allow", (lib("use", "use", "f"), MAIN), f"{REFUSE} {ALLOW} main.o libuse.so"),
    Case("pie-hidden-in-object", (lib("use", "use", "f"), MAIN, obj("more", "f!hidden")), "-pie main.o more.o libuse.so"),
    Case("protected-in-object", (lib("use", "use", "f"), MAIN, obj("more", "f!protected")), "main.o more.o libuse.so"),
    Case("three-deep", (lib("c", "c", "f"), lib("b", "b", "c", "c"), lib("use", "use", "b", "b"), MAIN), "main.o libuse.so -rpath-link ."),
    Case("three-deep-served-by-object", (lib("c", "c", "f"), lib("b", "b", "c", "c"), lib("use", "use", "b", "b"), MAIN, obj("more", "f")), "main.o more.o libuse.so -rpath-link ."),
    Case("three-deep-hidden-in-object", (lib("c", "c", "f"), lib("b", "b", "c", "c"), lib("use", "use", "b", "b"), MAIN, obj("more", "f!hidden")), "main.o more.o libuse.so -rpath-link ."),
)  # fmt: skip
