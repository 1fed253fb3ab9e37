"""The page's style sheet. Blue and orange can be told apart by almost all readers."""

STYLE = '''
:root{--paper:#fff;--ink:#1a1a1a;--dim:#595959;--line:#c9c9c9;--all:#0072b2;--some:#d55e00;
--bad:#b00020;--stripe:#fbe3d2;--band:#f4f6f8;--mark:#fff3c4}
@media (prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e8e8e8;--dim:#a9b0b8;--line:#444b54;
--all:#56b4e9;--some:#f0a04b;--bad:#ff8a8a;--stripe:#4a3420;--band:#1d2228;--mark:#4d430f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:0 1.2rem 4rem;max-width:84rem;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,"DejaVu Sans",sans-serif}
h1{font-size:1.5rem;margin:1.2rem 0 .3rem}h2{font-size:1.2rem;margin:2rem 0 .4rem;
border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:var(--all)}a:focus,summary:focus{outline:3px solid var(--some);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem}
nav ul,.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;padding:0;list-style:none}
.legend svg{vertical-align:-2px}
.warning{border-left:4px solid var(--some);padding:.3rem .8rem;background:var(--band)}
figure{margin:0;overflow-x:auto}svg{max-width:100%;height:auto}
svg text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:var(--ink);unicode-bidi:isolate}
svg a text{fill:var(--all)}svg .axis{fill:var(--dim)}
svg a:focus text{text-decoration:underline;font-weight:bold}
.mark{stroke:var(--ink);stroke-width:1}.mark.all{fill:var(--all)}
.mark.some{fill:url(#stripes)}.mark.none{fill:var(--paper);stroke:var(--line)}
.defs{position:absolute}.stripe{fill:var(--some)}.stripe-paper{fill:var(--stripe)}
.arc{fill:none;stroke-width:1.6;opacity:.75}.arc.all{stroke:var(--all)}
.arc.some{stroke:var(--some);stroke-dasharray:6 4}
.arc.would{stroke-dasharray:1 5;stroke-linecap:round;stroke-width:3}
.arc:hover{stroke-width:4;opacity:1}
.alone{fill:var(--dim)}.closed{stroke:var(--bad);stroke-width:2;fill:none}
.paper{fill:var(--paper);stroke:var(--line)}.cells.all{fill:var(--all)}
.cells.some{fill:url(#stripes)}.cells.would{fill:url(#dots)}.dot{fill:var(--paper)}
.mark.would{stroke:var(--bad);stroke-width:2;stroke-dasharray:2 2}.would{color:var(--bad)}
.lines{stroke:var(--line);stroke-width:.6;fill:none}
.self{stroke:var(--paper);stroke-width:1.5;stroke-dasharray:2 3}
.refused{fill:none;stroke:var(--bad);stroke-width:1.6}.refused.passed{stroke-dasharray:2 2}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;max-width:30rem;overflow-wrap:anywhere;
vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
thead th{overflow-wrap:normal;white-space:nowrap;position:sticky;top:0;background:var(--band)}
tr:target{background:var(--mark);outline:2px solid var(--some)}
.error{color:var(--bad);font-weight:normal}small{color:var(--dim)}
.all{color:var(--all)}.some{color:var(--some)}
summary{cursor:pointer}details.vifs>summary{font-weight:bold;margin:1.2rem 0 .4rem}
@media print{details{display:block}.skip{display:none}}
'''
