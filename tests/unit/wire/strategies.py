"""How each declared message is made up for property tests. `test_struct.py` fails for one that has no row here."""

from __future__ import annotations

from hypothesis import strategies as st

from bastion.wire import forwards as f
from bastion.wire import messages as m
from bastion.wire import requests as r
from bastion.wire import userauth as u
from bastion.wire.struct import Struct

NAMES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=20
)
U32 = st.integers(0, 2**32 - 1)
RAW = st.binary(max_size=40)
TEXT = st.text(max_size=20)
SHORT = st.text(max_size=10)
HEX = st.text("0123456789abcdefABCDEF", max_size=40).map(str.encode)
MODES = st.dictionaries(st.integers(1, 159), U32, max_size=20).map(r.encode_terminal_modes)
PROMPTS = st.builds(u.Prompt, TEXT, st.booleans())

STRATEGIES: dict[type[Struct], st.SearchStrategy[Struct]] = {
    m.GlobalRequest: st.builds(m.GlobalRequest, NAMES, st.booleans(), RAW),
    m.RequestSuccess: st.builds(m.RequestSuccess, RAW),
    m.RequestFailure: st.builds(m.RequestFailure),
    m.ChannelOpen: st.builds(m.ChannelOpen, NAMES, U32, U32, U32, RAW),
    m.ChannelOpenConfirmation: st.builds(m.ChannelOpenConfirmation, U32, U32, U32, U32),
    m.ChannelOpenFailure: st.builds(m.ChannelOpenFailure, U32, U32, st.text(max_size=40), RAW),
    m.WindowAdjust: st.builds(m.WindowAdjust, U32, U32),
    m.Data: st.builds(m.Data, U32, RAW),
    m.ExtendedData: st.builds(m.ExtendedData, U32, U32, RAW),
    m.Eof: st.builds(m.Eof, U32),
    m.Close: st.builds(m.Close, U32),
    m.ChannelRequest: st.builds(m.ChannelRequest, U32, NAMES, st.booleans(), RAW),
    m.ChannelSuccess: st.builds(m.ChannelSuccess, U32),
    m.ChannelFailure: st.builds(m.ChannelFailure, U32),
    r.Empty: st.builds(r.Empty),
    r.PtyRequest: st.builds(r.PtyRequest, RAW, U32, U32, U32, U32, MODES),
    r.WindowChange: st.builds(r.WindowChange, U32, U32, U32, U32),
    r.Exec: st.builds(r.Exec, RAW),
    r.Subsystem: st.builds(r.Subsystem, TEXT),
    r.Env: st.builds(r.Env, TEXT, RAW),
    r.Signal: st.builds(r.Signal, SHORT),
    r.Break: st.builds(r.Break, U32),
    r.XonXoff: st.builds(r.XonXoff, st.booleans()),
    r.ExitStatus: st.builds(r.ExitStatus, U32),
    r.ExitSignal: st.builds(r.ExitSignal, SHORT, st.booleans(), RAW, RAW),
    r.X11Request: st.builds(r.X11Request, st.booleans(), RAW, HEX, U32),
    f.TcpipOpen: st.builds(f.TcpipOpen, TEXT, U32, TEXT, U32),
    f.X11Open: st.builds(f.X11Open, TEXT, U32),
    f.DirectStreamlocal: st.builds(f.DirectStreamlocal, TEXT, RAW, U32),
    f.ForwardedStreamlocal: st.builds(f.ForwardedStreamlocal, TEXT, RAW),
    f.TcpipForward: st.builds(f.TcpipForward, TEXT, U32),
    f.StreamlocalForward: st.builds(f.StreamlocalForward, TEXT),
    f.ForwardedPort: st.builds(f.ForwardedPort, U32),
    u.ServiceRequest: st.builds(u.ServiceRequest, NAMES),
    u.UserauthRequest: st.builds(u.UserauthRequest, TEXT, NAMES, NAMES, RAW),
    u.KeyboardInteractiveBody: st.builds(u.KeyboardInteractiveBody, RAW, RAW),
    u.UserauthFailure: st.builds(u.UserauthFailure, st.lists(NAMES, max_size=5).map(tuple), st.booleans()),
    u.UserauthBanner: st.builds(u.UserauthBanner, RAW, RAW),
    u.PkOk: st.builds(u.PkOk, NAMES, RAW),
    u.Prompt: PROMPTS,
    u.InfoRequest: st.builds(u.InfoRequest, TEXT, TEXT, RAW, st.lists(PROMPTS, max_size=32).map(tuple)),
    u.InfoResponse: st.builds(u.InfoResponse, st.lists(RAW, max_size=32).map(tuple)),
}
