// A Postbell plugin in JavaScript, small on purpose: whoever asks `GET /changes` reads one line for each change in the own
// account, for half an hour: what happened, and the id of the item or folder if it has one.

const FORMAT = "change-lines/1";
const PART_BYTES = 1 << 20;
const STREAMS = 100; // open at once; with LINE_BYTES less than a reaction may hold
const LINE_BYTES = 8_000; // of one reaction, to one stream: what does not fit is `gap`
const STREAM_MS = 30 * 60_000;

// The whole state. A stream: { id, names, until }.
let state = { domains: "", streams: [] };
let saved = [];
let loaded = [];

// --- Reactions -------------------------------------------------------------------------------------------------------

const encode = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (byte) => byte.charCodeAt(0));
const decode = (bytes) => decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));

const PLAIN = [["content-type", "text/plain; charset=utf-8"]];
const part = (to, text, more, status = 200) => ({ to, status, headers: PLAIN, body: encode(text), more, confirm: false });

const wakeAt = () => (state.streams.length === 0 ? null : Math.min(...state.streams.map(({ until }) => until)));
const reaction = (replies, changed) => ({ replies, calls: [], wakeAt: wakeAt(), rejections: [], logs: [], changed });

// Ends the streams of which `over` is true.
function end(over) {
  const ended = state.streams.filter(over);
  state.streams = state.streams.filter((stream) => !over(stream));
  return reaction(ended.map(({ id }) => part(id, "", false)), ended.length > 0);
}

// Forgets them: nobody listens any more.
const forget = (over) => reaction([], end(over).changed);

// --- Lines -----------------------------------------------------------------------------------------------------------

// What a change is about: the item or folder as it is now.
function subject({ val }) {
  const about = val?.after ?? val?.item ?? val?.folder ?? val;
  return typeof about?.id === "string" ? ` ${encodeURIComponent(about.id)}` : "";
}

function lines(changes) {
  let text = "";
  for (const { what } of changes) {
    const line = `${what.tag}${subject(what)}\n`;
    if (text.length + line.length > LINE_BYTES - 4) return text + "gap\n";
    text += line;
  }
  return text;
}

const isOf = (stream, account) => stream.names.includes(account) || stream.names.includes(account.toLowerCase());

// --- The contract: wit/notify.wit --------------------------------------------------------------------------------------

// All settings; whether they differ from those before.
function configure(settings) {
  const unknown = settings.find(([key]) => key !== "domains");
  if (unknown) throw `unknown setting ${unknown[0]}`;
  const domains = settings.map(([, value]) => value).join(" ");
  const differs = domains !== state.domains;
  state.domains = domains;
  return differs;
}

export const types = {};

export const lifecycle = {
  describe: () => ({
    name: "change-lines",
    version: "0.1.0",
    routes: [{ prefix: "/changes", methods: ["GET"], headers: [], schemes: ["basic"], parkMs: STREAM_MS + 60_000 }],
    stateFormats: [FORMAT],
  }),
  open: (at, seed, settings) => void configure(settings),
  configure: (at, settings) => reaction([], configure(settings)),
  tick: (at) => end(({ until }) => until <= at.now),
  restarted: () => forget(() => true),
  drain: () => end(() => true),
  outstanding: () => ({ requests: state.streams.map(({ id }) => id).sort((a, b) => a - b), calls: [], wakeAt: wakeAt() }),
  save(number) {
    if (number === 0) saved = encode(JSON.stringify(state));
    const bytes = saved.slice(number * PART_BYTES, (number + 1) * PART_BYTES);
    return bytes.length === 0 ? null : bytes;
  },
  load(format, bytes, more) {
    if (format !== FORMAT) throw { tag: "unknown-format", val: format };
    loaded.push(...bytes);
    if (more) return;
    try {
      const { domains, streams } = JSON.parse(decode(loaded));
      state = { domains: String(domains), streams: streams.map(({ id, names, until }) => ({ id, names, until })) };
    } catch (error) {
      throw { tag: "corrupt", val: String(error) };
    }
    loaded = [];
  },
  inspect: () => [{ name: "streams", labels: [], value: state.streams.length }],
};

export const changes = {
  ingest(at, { accounts }) {
    const told = state.streams.map((stream) => {
      const own = accounts.filter(({ account }) => isOf(stream, account));
      return [stream.id, lines(own.flatMap(({ changes }) => changes))];
    });
    const replies = told.filter(([, text]) => text !== "").map(([id, text]) => part(id, text, true));
    return reaction(replies, replies.length > 0);
  },
};

export const requests = {
  // The login is HTTP's own: nothing in the body is of interest.
  identify: () => ({ credential: null, wantsToken: false, actAs: null, accounts: [], endsLogin: false, secrets: [] }),
  refuse: (head, body, why) => part(0, `${why}\n`, false, why === "too-large" ? 413 : why === "fault" ? 500 : 503),
  answer(at, { id, access }) {
    if (access.tag === "denied") return reaction([part(id, `${access.val}\n`, false, 403)], false);
    if (state.streams.length === STREAMS) return reaction([part(id, "busy\n", false, 503)], false);
    const { id: account, name, aliases } = access.val.account;
    const names = [account, ...[name, ...aliases].map((each) => each.toLowerCase())];
    state.streams.push({ id, names, until: at.now + STREAM_MS });
    return reaction([part(id, "", true)], true);
  },
  settled: (at, settlements) => forget(({ id }) => settlements.some(({ request, end }) => request === id && end !== null)),
};

export const outbound = { finished: () => reaction([], false) };
