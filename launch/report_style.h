// The style sheet of a report. Colours: c1 distilled student (or the only model), c2 student on
// hard labels, c3 teacher, c4 and c5 parts and others. On narrow screens the table becomes cards,
// since its columns do not fit and sideways scrolling hides them.
#pragma once

namespace temper {

inline constexpr const char* kReportStyle = R"css(
:root{color-scheme:light;--page:#fff;--card:#f7f7f5;--text:#1c1d1f;--soft:#5c6066;--rule:#d9dadc;
--c1:#1d5fd1;--c2:#b4500b;--c3:#0a7d5a;--c4:#8b3fb5;--c5:#9a6a00;--before:#7b8087}
@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;--page:#141517;--card:#1d1f22;--text:#e8e9ea;
--soft:#a3a8ae;--rule:#3a3d42;--c1:#7fb0ff;--c2:#f2a065;--c3:#5fd0a8;--c4:#d59bf2;--c5:#e0bd5c;--before:#9298a0}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 20px 48px;max-width:1320px;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:26px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
p{margin:6px 0;max-width:80ch}
.soft,small{color:var(--soft)}
small{font-size:12.5px;line-height:1.4}
dl{display:flex;flex-wrap:wrap;gap:12px 36px;margin:18px 0 0}
dt{color:var(--soft);font-size:13px}
dd{margin:0;font-size:19px;font-weight:600}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;vertical-align:top;font-weight:400}
thead th{color:var(--soft);font-size:13px;vertical-align:bottom;border-bottom:1px solid var(--text)}
tbody{border-bottom:1px solid var(--rule);break-inside:avoid}
tbody th,thead th:first-child,.stage{text-align:left}
tbody th b{font-weight:600}
.stage,.weights{white-space:nowrap}
td small,th small{display:block}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:16px}
figure{margin:0;padding:14px;background:var(--card);border:1px solid var(--rule);border-radius:8px;
display:flex;flex-direction:column;justify-content:space-between;break-inside:avoid;min-width:0}
figcaption b,figcaption small{display:block;overflow-wrap:anywhere}
figcaption b{font-weight:600}
.keys{display:flex;flex-wrap:wrap;gap:0 16px;margin:4px 0 8px;font-size:13px}
.key{display:inline-flex;align-items:center;gap:6px}
.key i{width:20px;border-top:3px solid currentColor}
.key i.dashed{border-top-style:dashed}
.key i.dotted{border-top-style:dotted}
svg{display:block;width:100%;height:auto}
svg text{font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg path{fill:none}
svg .rule,svg .tick{stroke:var(--rule);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .diagonal{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}
svg .line{stroke:currentColor;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}
svg .line.dashed{stroke-dasharray:5 4}
svg .line.dotted{stroke-dasharray:1 3.5}
svg .band{fill:currentColor;fill-opacity:.16}
a{color:var(--c1)}
h3{font-size:16px;margin:28px 0 10px}
.run{margin-top:48px;border-top:2px solid var(--rule)}
.run>h2{font-size:22px;margin:20px 0 4px;overflow-wrap:anywhere}
td.value,th.value,tbody th{overflow-wrap:anywhere}
svg .bar{fill:currentColor}
svg .dot{fill:currentColor;stroke:currentColor;stroke-width:1.75}
.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}
.before{color:var(--before)}
svg .dot.before{fill:var(--card)}
details{margin-top:36px}
summary{font-size:18px;font-weight:600;cursor:pointer}
pre{font:13px/1.5 ui-monospace,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere;
background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:14px}
@media screen and (max-width:760px){
body{padding:18px 16px 36px}
h1{font-size:22px}
table,tbody,tr,th,td{display:block}
thead{display:none}
tbody{padding:10px 0}
th,td{padding:0;text-align:left}
tr{display:grid;grid-template-columns:repeat(3,1fr);gap:6px 12px;padding:4px 0 8px}
tbody th,td.stage,td.weights{grid-column:1/-1}
td[data-name]::before{content:attr(data-name);display:block;color:var(--soft);font-size:12.5px}
td.weights::before{display:inline;content:attr(data-name) " "}
td.none{display:none}
}
@media print{
body{max-width:none;padding:0;font-size:11pt}
.grid{grid-template-columns:1fr 1fr}
th,td{padding:4px 5px;font-size:9.5pt}
h2,h3,h2+p,h3+p{break-after:avoid}
.run{break-before:page;border-top:none;margin-top:0}
a{color:inherit;text-decoration:none}
details::details-content{content-visibility:visible;display:block;height:auto}
}
)css";

}  // namespace temper
