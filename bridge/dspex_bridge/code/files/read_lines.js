// What DSPy's runner.js takes from Deno's old standard library, which is on no package registry:
// the lines of a stream, as they come. An import map puts this in its place.

export async function* readLines(reader) {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65536);
  let waiting = "";
  while (true) {
    const count = await reader.read(chunk);
    if (count === null) break;
    waiting += decoder.decode(chunk.subarray(0, count), { stream: true });
    // A line of many chunks is looked at once, when its end has come.
    if (chunk.subarray(0, count).includes(10)) {
      const lines = waiting.split("\n");
      waiting = lines.pop();
      yield* lines;
    }
  }
  if (waiting) yield waiting;
}
