"""JUnit's XML, which nearly every CI service draws: an object is a suite, a finding a failed test."""

from __future__ import annotations

from xml.etree import ElementTree as Tree

from patcher.base.printable import readable
from patcher.symbols.findings import SymbolFinding, SymbolReport
from patcher.symbols.formats.paths import relative


def junit(report: SymbolReport) -> str:
    """Errors are failures; warnings and notes are skipped tests. A clean report is one test that passed."""
    by_object: dict[str, list[SymbolFinding]] = {}
    for finding in report.findings:
        by_object.setdefault(relative(finding.object), []).append(finding)
    failures = len(report.at_least("error")) + bool(report.more)
    top = Tree.Element(
        "testsuites",
        name="verify-symbols",
        tests=str(max(1, len(report.findings) + bool(report.more))),
        failures=str(failures),
        errors="0",
    )
    for place, findings in by_object.items():
        suite = Tree.SubElement(
            top,
            "testsuite",
            name=readable(place),
            tests=str(len(findings)),
            failures=str(sum(one.severity == "error" for one in findings)),
            errors="0",
            skipped=str(sum(one.severity != "error" for one in findings)),
        )
        for finding in findings:
            # the mangled name too: two symbols may demangle alike (C1 and C2 constructors)
            name = f"{finding.rule}: {finding.symbol}"
            case = Tree.SubElement(suite, "testcase", classname=readable(place), name=readable(name))
            if finding.severity == "error":
                failure = Tree.SubElement(
                    case, "failure", message=readable(finding.message), type=finding.rule
                )
                failure.text = readable(" -> ".join(finding.chain))
            else:
                Tree.SubElement(case, "skipped", message=readable(f"{finding.severity}: {finding.message}"))
    if report.more:
        suite = Tree.SubElement(
            top, "testsuite", name="verify-symbols", tests="1", failures="1", errors="0", skipped="0"
        )
        case = Tree.SubElement(suite, "testcase", classname="verify-symbols", name="findings not listed")
        Tree.SubElement(case, "failure", message=report.more, type="verify-symbols")
    elif not by_object:
        suite = Tree.SubElement(
            top, "testsuite", name="verify-symbols", tests="1", failures="0", errors="0", skipped="0"
        )
        Tree.SubElement(
            suite, "testcase", classname="verify-symbols", name=f"{report.objects} objects without a finding"
        )
    Tree.indent(top)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Tree.tostring(top, encoding="unicode")
