import json
from typing import NamedTuple
class W(NamedTuple):
    table: str
    html: str
def write(workdir):
    out=[]
    for n in ('before','after'):
        p=workdir/n/'metrics.json'
        if p.exists():
            m=json.loads(p.read_text())
            out.append(n+' '+' '.join(f"{k}={v['value']:.4f}[{v['low']:.4f},{v['high']:.4f}]" for k,v in m['metrics'].items()))
            if n=='before': out.append(json.dumps(m['yardsticks'],indent=0))
    return W('\n'.join(out),'')
