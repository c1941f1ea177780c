// Everything is readable without this script. It copies the command, and unfolds what is folded for the printer.
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
  });
}
const folded = () => document.querySelectorAll("details:not([open])");
let unfolded = [];
addEventListener("beforeprint", () => { unfolded = [...folded()]; unfolded.forEach((each) => { each.open = true; }); });
addEventListener("afterprint", () => { unfolded.forEach((each) => { each.open = false; }); });
